// The broker: listens on free ports of 127.0.0.1, takes the agent's requests, swaps tokens for keys. Runs on the
// reactor of the exec process.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "broker/egress.hpp"
#include "broker/session_state.hpp"
#include "net/outer_proxy.hpp"
#include "net/reactor.hpp"
#include "net/session_ca.hpp"

namespace agentvault::broker {

struct BrokerOptions {
  Egress egress;
  std::optional<net::OuterProxy> outer_proxy;
  /// For clients that cannot authenticate to a proxy (Java): what a proxy request without a token counts as, on the
  /// second port. Only the user of this process is served there.
  token::Token implied_token;
};

class Broker {
 public:
  /// Listens at once; serves when the reactor runs. `ca` signs for intercepted hosts and must outlive the broker.
  Broker(net::Reactor& reactor, SessionState& session, net::SessionCa& ca, BrokerOptions options);
  ~Broker();
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;

  /// "127.0.0.1:PORT"
  const std::string& authority() const;
  /// The second port.
  std::uint16_t tokenless_proxy_port() const;
  /// Ends every open exchange whose authority was withdrawn from the session. Returns when their connections are
  /// closed.
  void enforce_withdrawals();
  /// Whether one of the session's secrets stands in the text.
  bool holds_secret(std::string_view text) const;

 private:
  class Server;
  std::unique_ptr<Server> server_;
};

}  // namespace agentvault::broker
