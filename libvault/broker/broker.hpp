// The broker: takes the agent's requests, swaps tokens for keys. Runs on the reactor of the exec process.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file.hpp"
#include "broker/approvals.hpp"
#include "broker/session_state.hpp"
#include "net/network.hpp"
#include "net/outer_proxy.hpp"
#include "net/reactor.hpp"
#include "net/session_ca.hpp"
#include "policy/egress.hpp"

namespace agentvault::broker {

/// Where agents come in, and who counts as one there. Listening, non-blocking sockets.
struct Entrances {
  UniqueFd main;       // 127.0.0.1
  UniqueFd tokenless;  // 127.0.0.1, for clients that cannot authenticate to a proxy (Java)
  /// Of a network namespace that only the session is in: connections that were meant for somewhere else, all ports of
  /// it at one (SO_ORIGINAL_DST tells which), or by port.
  std::vector<UniqueFd> diverted;
  UniqueFd names;  // UDP, for name requests there
  /// Likewise: each leads to one address outside.
  struct Reached {
    UniqueFd socket;
    net::Endpoint target;
  };
  std::vector<Reached> reached;

  enum class Guests {
    this_user,       // every process of the user, and root
    this_namespace,  // whoever finds the socket: nobody else is there
    announced,       // local ports that are read from `announcements`, two bytes each, before they connect
  } guests = Guests::this_user;
  UniqueFd announcements;

  /// Two sockets of this machine's own 127.0.0.1.
  static Entrances on_loopback();
};

struct BrokerOptions {
  Entrances entrances;
  policy::Egress egress;
  std::optional<net::OuterProxy> outer_proxy;
  /// What a connection counts as that comes as to a proxy, and cannot bring a token.
  token::Token implied_token;
};

class Broker {
 public:
  /// Serves when the reactor runs. `ca` signs for intercepted hosts and must outlive the broker.
  Broker(net::Reactor& reactor, SessionState& session, net::SessionCa& ca, BrokerOptions options);
  ~Broker();
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;

  /// "127.0.0.1:PORT"
  const std::string& authority() const;
  std::uint16_t port() const;
  std::uint16_t tokenless_proxy_port() const;
  /// Ends every open exchange that would not be allowed any more. Returns when their connections are closed.
  void enforce_withdrawals();
  /// Takes no connection any more, and ends all there are; what was under way is in the log then.
  void end();
  /// What waits for a person.
  Approvals& approvals();
  /// Which hosts may be reached without a credential from now on.
  void set_egress(policy::Egress egress);
  /// Whether one of the session's secrets stands in the text.
  bool holds_secret(std::string_view text) const;

 private:
  class Server;
  std::unique_ptr<Server> server_;
};

}  // namespace agentvault::broker
