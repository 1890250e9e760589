// The broker: listens on a free port of 127.0.0.1, takes the agent's requests, swaps tokens for keys. Runs on the
// reactor of the exec process.
#pragma once

#include <memory>
#include <string>

#include "broker/session_state.hpp"
#include "net/reactor.hpp"

namespace agentvault::broker {

class Broker {
 public:
  /// Listens at once; serves when the reactor runs.
  Broker(net::Reactor& reactor, SessionState& session);
  ~Broker();
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;

  /// "127.0.0.1:PORT"
  const std::string& authority() const;
  /// Ends every open exchange whose authority was withdrawn from the session. Returns when their connections are
  /// closed.
  void enforce_withdrawals();
  /// Whether one of the session's secrets stands in the text.
  bool holds_secret(std::string_view text) const;

 private:
  class Listener;
  std::unique_ptr<Listener> listener_;
};

}  // namespace agentvault::broker
