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
  /// The person's: what the first of these is, else the one that controls this process. Null without one. Opened anew,
  /// with `flags` besides.
  static UniqueFd persons(int flags = 0);

  /// With the settings and the size of the person's. `device` is /dev/ptmx of the devpts that the agent sees. Throws
  /// Error(failed).
  OwnTerminal(const char* device, const UniqueFd& persons);

  /// The outer end, once.
  UniqueFd take_outer_end() { return std::move(outer_); }
  /// Its name in /dev/pts.
  std::string name() const;

  /// In the keeper, after it has begun a session: this is its terminal.
  void lead() const;
  /// In what becomes the agent, and leads its group: in front or not; the standard streams that were terminals are this
  /// one.
  void attach(bool in_front) const;
  /// In the keeper: that group is in front, or the keeper's own is, which means that no other is.
  void bring_to_front(pid_t group) const;

 private:
  UniqueFd outer_;
  UniqueFd inner_;
};

}  // namespace agentvault::sandbox
