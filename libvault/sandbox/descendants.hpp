// The end of a session that has no process namespace: everything that the agent has started ends with it, however it
// was started and wherever its parents are.
#pragma once

#include "base/file.hpp"

namespace agentvault::sandbox {

/// For the keeper, before it starts the agent. From then on it takes in orphans.
class Descendants {
 public:
  /// Puts this process into a Landlock domain of its own where the kernel has scopes for signals (ABI 6): then one
  /// signal reaches the domain and nothing else. Throws Error(failed) where neither that nor the list of children that
  /// older kernels need is there.
  Descendants();

  /// One process more, in the same domain, ends the others when this one is killed. Needs scopes. Not for the agent's
  /// process to inherit: to be called once that is started.
  void appoint_successor();

  /// Returns when none of them is left.
  void end() const;

 private:
  bool has_scope_;
  UniqueFd alive_;  // the successor waits for its end
};

}  // namespace agentvault::sandbox
