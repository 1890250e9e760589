// The launcher: a process forked before anything secret exists in exec, so that it inherits none of it. It waits for
// its environment, then becomes the child's command. Same session, process group and terminal as exec.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/file.hpp"

namespace agentvault::session {

class Launcher {
 public:
  Launcher(std::vector<std::string> command, mode_t umask);
  /// One that was never started ends by itself: it reads the end of its channel.
  ~Launcher();
  Launcher(const Launcher&) = delete;
  Launcher& operator=(const Launcher&) = delete;

  pid_t pid() const { return pid_; }
  /// Becomes the command. Returns 0, or the errno with which that failed; then the process is gone.
  int start(const std::vector<std::string>& environment);

 private:
  pid_t pid_ = -1;
  UniqueFd channel_;
  bool started_ = false;
};

}  // namespace agentvault::session
