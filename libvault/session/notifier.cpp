#include "session/notifier.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "base/installed_group.hpp"

namespace agentvault::session {
namespace {

constexpr unsigned kMostShown = 99;

void show(unsigned waiting) {
  const std::string text = std::to_string(waiting) + (waiting == 1 ? " request waits" : " requests wait") +
                           " for approval: agentvault approve";
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::execlp("notify-send", "notify-send", "--app-name=agentvault", "agentvault", text.c_str(), nullptr);
    ::_exit(127);
  }
  if (pid > 0) ::waitpid(pid, nullptr, 0);
}

/// Until the other end of the pipe is closed.
[[noreturn]] void run(int pipe) {
  InstalledGroup::let_go_of_vault();
  InstalledGroup::give_up();
  ::dup3(pipe, 3, 0);
  ::fcntl(3, F_SETFD, FD_CLOEXEC);
  ::syscall(SYS_close_range, 4U, ~0U, 0U);
  ::setsid();  // the terminal's signals are not for it
  unsigned char waiting = 0;
  while (::read(3, &waiting, 1) == 1) show(waiting);
  ::_exit(0);
}

}  // namespace

Notifier::Notifier(bool wanted) {
  const char* bus = std::getenv("DBUS_SESSION_BUS_ADDRESS");
  if (!wanted || bus == nullptr || *bus == '\0') return;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return;
  const pid_t first = ::fork();
  if (first == 0) {
    // Nobody's child: exec waits for the agent, and for nobody else.
    const pid_t second = ::fork();
    if (second == 0) run(ends[0]);
    ::_exit(0);
  }
  ::close(ends[0]);
  pipe_.reset(ends[1]);
  ::fcntl(pipe_.get(), F_SETFL, O_NONBLOCK);
  if (first > 0) ::waitpid(first, nullptr, 0);
}

void Notifier::say(std::size_t waiting) {
  if (!pipe_) return;
  const auto count = static_cast<unsigned char>(std::min<std::size_t>(waiting, kMostShown));
  // A full pipe has said enough; SIGPIPE is ignored by exec.
  [[maybe_unused]] const ssize_t written = ::write(pipe_.get(), &count, 1);
}

}  // namespace agentvault::session
