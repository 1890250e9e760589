// Signals of exec, read on the reactor: forwarded to the child, and the child's own stops and end.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>

#include "base/file.hpp"
#include "net/reactor.hpp"

namespace agentvault::session {

class SignalRelay final : public net::Watcher {
 public:
  /// From now on signals wait to be relayed. Called before the child is started, so that none is lost in between.
  static void block();

  /// After block(). `on_exit` gets the child's status in the way of a shell: its exit code, or 128
  /// plus the number of the signal that killed it.
  SignalRelay(net::Reactor& reactor, pid_t child, std::function<void(int)> on_exit);
  ~SignalRelay() override;
  SignalRelay(const SignalRelay&) = delete;
  SignalRelay& operator=(const SignalRelay&) = delete;

  bool child_lives();

 private:
  void on_ready(std::uint32_t events) override;
  void look_at_child();

  net::Reactor& reactor_;
  pid_t child_;
  std::function<void(int)> on_exit_;
  UniqueFd fd_;
  bool gone_ = false;
};

}  // namespace agentvault::session
