#include "sandbox/descendants.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "sandbox/landlock.hpp"
#include "sandbox/standard_streams.hpp"

namespace agentvault::sandbox {
namespace {

std::string list_of_children() {
  return "/proc/self/task/" + std::to_string(::gettid()) + "/children";
}

/// What is in the domain of this process, but for itself. The kernel goes through all processes while none is added,
/// and a process that has been killed can start no other (kill(2), fork(2): a pending signal comes first).
void kill_domain() {
  ::kill(-1, SIGKILL);
}

/// Without scopes that would reach everything of the user's. Orphans become children of this process, so each round
/// sees those that the last one has made orphans; who starts a child meanwhile has it killed in the next.
void kill_children() {
  std::ifstream children(list_of_children());
  for (pid_t child; children >> child;) ::kill(child, SIGKILL);
}

}  // namespace

Descendants::Descendants() : has_scope_(landlock_abi() >= kAbiWithScopes) {
  if (has_scope_) {
    Landlock(access::kNothing, Landlock::Scope::sockets_and_signals).enforce();
  } else if (::access(list_of_children().c_str(), R_OK) != 0) {
    throw Error(ErrorKind::failed, "this kernel does not tell which children a process has");
  }
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) throw_errno("take in orphans");
}

void Descendants::appoint_successor() {
  if (!has_scope_) return;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw_errno("make a pipe");
  UniqueFd waits(ends[0]);
  alive_.reset(ends[1]);
  const pid_t successor = ::fork();
  if (successor < 0) throw_errno("start a process");
  if (successor > 0) return;
  ::dup2(waits.get(), STDIN_FILENO);
  ::close(STDOUT_FILENO);
  ::close(STDERR_FILENO);
  close_all_but_standard_streams();
  char nothing;
  while (::read(STDIN_FILENO, &nothing, 1) < 0 && errno == EINTR) {
  }
  kill_domain();
  ::_exit(0);
}

void Descendants::end() const {
  for (;;) {
    if (has_scope_) {
      kill_domain();
    } else {
      kill_children();
    }
    if (::waitpid(-1, nullptr, 0) < 0 && errno == ECHILD) return;
  }
}

}  // namespace agentvault::sandbox
