// Between the person's terminal and the agent's own (sandbox/own_terminal.hpp): a process that passes on what is typed
// and said, the size of the window, and what stopping and continuing means to both sides. It holds no secret and is
// begun before there are any; it puts the terminal's settings back also when exec is killed.
//
// The person's terminal is taken (set to raw) only while exec's process group is in front of it. An agent that starts
// behind its own terminal, because exec is a part of a pipeline or in the background, is stopped by the kernel when it
// reads or changes settings; then the terminal is taken for it, as sudo(8) does.
#pragma once

#include <sys/types.h>

#include "base/file.hpp"

namespace agentvault::session {

class TerminalRelay {
 public:
  /// Starts the process. `agents_end` is the outer end of the agent's terminal.
  explicit TerminalRelay(UniqueFd agents_end);
  /// Waits until everything that the agent has said is shown, and the terminal is as it was.
  ~TerminalRelay();
  TerminalRelay(const TerminalRelay&) = delete;
  TerminalRelay& operator=(const TerminalRelay&) = delete;

  /// Whether the agent is in front of its terminal from the start.
  bool starts_in_front() const { return starts_in_front_; }
  /// The agent has been started.
  void begin() const;
  /// The agent wants the terminal. Comes as Event::in_front, when exec's group is in front.
  void take() const;
  /// The agent was stopped: so is exec's whole group, until the shell continues it. Then comes an event.
  void suspend() const;

  int events() const { return control_.get(); }
  enum class Event { none, in_front, behind };
  Event next_event() const;

 private:
  bool starts_in_front_ = false;
  UniqueFd control_;
  pid_t process_ = -1;
};

}  // namespace agentvault::session
