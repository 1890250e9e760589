// What a session does when its control socket tells it to, from before it reads the vault until its child ends.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "broker/broker.hpp"
#include "session/announcement.hpp"
#include "session/control.hpp"

namespace agentvault::session {

class SessionControl {
 public:
  /// From now on the session answers, whenever the reactor runs. Until it has begun, a stop only stops the reactor.
  SessionControl(net::Reactor& reactor, int listening_socket, SessionStatus status);

  /// What an announcement of policies is checked with, and how it is obeyed.
  struct Governed {
    SecretBytes key;
    Version version;  // what the session has read itself
    /// Throws Error when the session cannot go on under these.
    std::function<void(const std::vector<store::PolicyRow>& policies)> obey;
  };

  /// The session serves: what is taken away is taken from these. Both outlive every later run of the reactor.
  void begin(broker::SessionState& state, broker::Broker& broker, Governed governed);

  bool stopped() const { return stopped_; }
  /// Whether, since this was asked last, the vault was rotated before the session had begun: what was read of it does
  /// not count, and reading it anew does.
  bool take_rotation() { return std::exchange(rotated_, false); }
  bool rotated() const { return rotated_; }
  SessionStatus& status() { return status_; }

 private:
  SessionStatus current_status();
  void stop(bool rotated);
  bool revoke_token(const std::string& id);
  void withdraw(const std::string& credential);
  bool take_policies(ByteView announcement);
  void enforce(const std::string& what);

  net::Reactor& reactor_;
  SessionStatus status_;
  broker::SessionState* state_ = nullptr;
  broker::Broker* broker_ = nullptr;
  bool stopped_ = false;
  bool rotated_ = false;
  std::vector<std::string> withdrawn_early_;
  std::optional<Governed> governed_;
  std::vector<Bytes> announced_early_;
  ControlServer server_;
};

}  // namespace agentvault::session
