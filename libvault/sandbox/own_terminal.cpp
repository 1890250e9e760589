#include "sandbox/own_terminal.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <string>

#include "base/error.hpp"

namespace agentvault::sandbox {

std::vector<int> OwnTerminal::streams() {
  std::vector<int> out;
  for (int fd = 0; fd <= 2; ++fd) {
    if (::isatty(fd) != 0) out.push_back(fd);
  }
  return out;
}

UniqueFd OwnTerminal::persons(int flags) {
  flags |= O_RDWR | O_NOCTTY | O_CLOEXEC;
  const auto given = streams();
  UniqueFd opened;
  if (!given.empty()) opened.reset(::open(("/proc/self/fd/" + std::to_string(given.front())).c_str(), flags));
  if (!opened) opened.reset(::open("/dev/tty", flags));
  if (!opened && !given.empty()) opened.reset(::fcntl(given.front(), F_DUPFD_CLOEXEC, 3));  // another user's
  return opened;
}

OwnTerminal::OwnTerminal(const char* device, const UniqueFd& persons) {
  outer_.reset(::open(device, O_RDWR | O_NOCTTY | O_CLOEXEC));
  const int locked = 0;
  if (!outer_ || ::ioctl(outer_.get(), TIOCSPTLCK, &locked) != 0) throw_errno("make a terminal for the agent");
  inner_.reset(::ioctl(outer_.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!inner_) throw_errno("open the agent's terminal");
  termios settings{};
  winsize size{};
  if (::tcgetattr(persons.get(), &settings) == 0) ::tcsetattr(inner_.get(), TCSANOW, &settings);
  if (::ioctl(persons.get(), TIOCGWINSZ, &size) == 0) ::ioctl(inner_.get(), TIOCSWINSZ, &size);
}

std::string OwnTerminal::name() const {
  char space[64];
  if (::ttyname_r(inner_.get(), space, sizeof space) != 0) throw_errno("name the agent's terminal");
  return space;
}

void OwnTerminal::lead() const {
  if (::ioctl(inner_.get(), TIOCSCTTY, 0) != 0) throw_errno("lead the agent's terminal");
}

void OwnTerminal::attach(bool in_front) const {
  if (in_front) bring_to_front(::getpid());
  for (const int fd : streams()) {
    if (::dup2(inner_.get(), fd) < 0) throw_errno("give the agent its terminal");
  }
}

void OwnTerminal::bring_to_front(pid_t group) const {
  // Whoever is not in front is stopped for doing this, unless it does not hear of it.
  sigset_t stop, before;
  ::sigemptyset(&stop);
  ::sigaddset(&stop, SIGTTOU);
  ::sigprocmask(SIG_BLOCK, &stop, &before);
  ::tcsetpgrp(inner_.get(), group);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace agentvault::sandbox
