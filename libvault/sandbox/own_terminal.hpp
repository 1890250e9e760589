// A terminal of the agent's own, where exec was started on one: a process that has left the agent's session, or goes on
// after Ctrl-Z, must not read what is typed to the shell. Who passes on what is typed and said is outside
// (session/terminal_relay.hpp); this is the inner end, in the keeper, which leads the terminal's session, so that the
// agent's group has somebody to be stopped and continued by.
#pragma once

#include <sys/types.h>

#include <vector>

#include "base/file.hpp"

namespace agentvault::sandbox {

class OwnTerminal {
 public:
  /// Those of the standard streams that are terminals.
  static std::vector<int> streams();

  /// With the settings and the size of the first of `streams`, which must not be empty. `device` is /dev/ptmx of the
  /// devpts that the agent sees. Throws Error(failed).
  OwnTerminal(const char* device, std::vector<int> streams);

  /// The outer end, once.
  UniqueFd take_outer_end() { return std::move(outer_); }
  /// Its name in /dev/pts.
  std::string name() const;

  /// In the keeper, which must lead no group: it begins the session of this terminal.
  void lead() const;
  /// In what becomes the agent: a group of its own, in front or not; the standard streams that were terminals are this
  /// one.
  void attach(bool in_front) const;
  /// In the keeper: that group is in front, or the keeper's own is, which means that no other is.
  void bring_to_front(pid_t group) const;

 private:
  std::vector<int> streams_;
  UniqueFd outer_;
  UniqueFd inner_;
};

}  // namespace agentvault::sandbox
