// Signals of exec, read on the reactor: forwarded to the agent, and the agent's own stops and end.
#pragma once

#include <sys/signalfd.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "base/file.hpp"
#include "net/reactor.hpp"
#include "sandbox/cell.hpp"
#include "session/terminal_relay.hpp"

namespace agentvault::session {

class SignalRelay final : public net::Watcher {
 public:
  /// From now on signals wait to be relayed. Called before the child is started, so that none is lost in between.
  static void block();

  /// After block(). `on_exit` gets the agent's status in the way of a shell: its exit code, or 128
  /// plus the number of the signal that killed it. The cell was entered. `terminal` is null where the agent has none of
  /// its own.
  /// `on_connection` gets what the cell was asked for.
  SignalRelay(net::Reactor& reactor, sandbox::Cell& cell, const TerminalRelay* terminal,
              std::function<void(int)> on_exit, std::function<void(UniqueFd)> on_connection);
  ~SignalRelay() override;
  SignalRelay(const SignalRelay&) = delete;
  SignalRelay& operator=(const SignalRelay&) = delete;

  bool agent_lives() const;

 private:
  void on_ready(std::uint32_t events) override;
  void look_at_child();
  void hear_keeper();
  void hear_terminal();
  void pass_on(const signalfd_siginfo& info);
  void stopped(int signal);
  static void stop_too();

  net::Reactor& reactor_;
  sandbox::Cell& cell_;
  const TerminalRelay* terminal_;
  std::function<void(int)> on_exit_;
  std::function<void(UniqueFd)> on_connection_;
  UniqueFd fd_;
  std::unique_ptr<net::Watcher> keeper_;
  std::unique_ptr<net::Watcher> terminal_watcher_;
  bool gone_ = false;
  bool suspended_ = false;  // the relay was told, and has not come back
};

}  // namespace agentvault::session
