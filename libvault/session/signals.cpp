#include "session/signals.hpp"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.hpp"

namespace agentvault::session {
namespace {

/// Every signal that would end or stop this process, but those that its own faults raise and those nobody can catch.
sigset_t watched() {
  sigset_t set;
  sigfillset(&set);
  for (int number : {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPIPE})
    sigdelset(&set, number);
  return set;
}

}  // namespace

SignalRelay::SignalRelay(net::Reactor& reactor, pid_t child, std::function<void(int)> on_exit)
    : reactor_(reactor), child_(child), on_exit_(std::move(on_exit)) {
  const sigset_t set = watched();
  fd_.reset(::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd_) throw_errno("watch signals");
  reactor_.add(fd_.get(), EPOLLIN, this);
  // The child may have ended before anybody watched.
  reactor_.defer([this] { look_at_child(); });
}

void SignalRelay::block() {
  const sigset_t set = watched();
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGCHLD, SIG_DFL);  // whoever ignores it gets no status
}

SignalRelay::~SignalRelay() {
  reactor_.remove(fd_.get(), this);
}

void SignalRelay::on_ready(std::uint32_t) {
  signalfd_siginfo info{};
  while (::read(fd_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    const int number = static_cast<int>(info.ssi_signo);
    if (number == SIGCHLD) {
      look_at_child();
      continue;
    }
    // What the terminal sends (Ctrl-C, Ctrl-Z, a resize) goes to the whole process group: the child has it already.
    const bool from_terminal = info.ssi_code == SI_KERNEL && ::getpgid(child_) == ::getpgrp();
    if (!gone_ && !from_terminal) ::kill(child_, number);
  }
}

void SignalRelay::look_at_child() {
  while (!gone_) {
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(child_), &info, WEXITED | WSTOPPED | WNOHANG) != 0) {
      if (errno != ECHILD) return;
      info.si_code = CLD_EXITED;  // somebody else has taken its status
      info.si_status = 0;
    } else if (info.si_pid == 0) {
      return;
    }
    if (info.si_code == CLD_STOPPED) {
      // A shell that waits for exec must see it stop with its child. SIGCONT wakes both.
      ::raise(SIGSTOP);
      continue;
    }
    gone_ = true;
    on_exit_(info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status);
  }
}

bool SignalRelay::child_lives() {
  if (gone_) return false;
  siginfo_t info{};
  // Without reaping: its status is for look_at_child().
  return ::waitid(P_PID, static_cast<id_t>(child_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

}  // namespace agentvault::session
