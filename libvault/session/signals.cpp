#include "session/signals.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.hpp"

namespace agentvault::session {
namespace {

/// What a terminal sends to its whole foreground group. When it goes away it tells only the leader of its session.
bool is_for_the_group(int number) {
  return number != SIGHUP && number != SIGCONT;
}

/// Every signal that would end or stop this process, but those that its own faults and writes raise and those nobody
/// can catch.
sigset_t watched() {
  sigset_t set;
  sigfillset(&set);
  for (int number : {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPIPE, SIGXFSZ})
    sigdelset(&set, number);
  return set;
}

class MessageWatcher final : public net::Watcher {
 public:
  MessageWatcher(net::Reactor& reactor, int fd, std::function<void()> on_message)
      : reactor_(reactor), fd_(fd), on_message_(std::move(on_message)) {
    reactor_.add(fd_, EPOLLIN | EPOLLRDHUP, this);
  }
  ~MessageWatcher() override { reactor_.remove(fd_, this); }
  MessageWatcher(const MessageWatcher&) = delete;
  MessageWatcher& operator=(const MessageWatcher&) = delete;

 private:
  void on_ready(std::uint32_t) override { on_message_(); }
  net::Reactor& reactor_;
  int fd_;
  std::function<void()> on_message_;
};

}  // namespace

SignalRelay::SignalRelay(net::Reactor& reactor, sandbox::Cell& cell, const TerminalRelay* terminal,
                         std::function<void(int)> on_exit, std::function<void(UniqueFd)> on_connection)
    : reactor_(reactor),
      cell_(cell),
      terminal_(terminal),
      on_exit_(std::move(on_exit)),
      on_connection_(std::move(on_connection)) {
  const sigset_t set = watched();
  fd_.reset(::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd_) throw_errno("watch signals");
  reactor_.add(fd_.get(), EPOLLIN, this);
  if (cell_.events() >= 0) {
    keeper_ = std::make_unique<MessageWatcher>(reactor_, cell_.events(), [this] { hear_keeper(); });
  }
  if (terminal_ != nullptr) {
    terminal_watcher_ = std::make_unique<MessageWatcher>(reactor_, terminal_->events(), [this] { hear_terminal(); });
  }
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
  keeper_.reset();
  terminal_watcher_.reset();
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
    if (!gone_) pass_on(info);
  }
}

/// What a terminal sends (Ctrl-C, Ctrl-Z, a resize) is for a whole process group. One that is exec's, too, has it
/// already; another one gets it from the keeper.
void SignalRelay::pass_on(const signalfd_siginfo& info) {
  const int number = static_cast<int>(info.ssi_signo);
  const bool from_terminal = info.ssi_code == SI_KERNEL && is_for_the_group(number);
  const bool has_own_group = cell_.agent() != cell_.child();
  if (terminal_ != nullptr && (number == SIGWINCH || number == SIGCONT)) return;  // the relay's
  if (has_own_group && (from_terminal || number == SIGCONT)) return cell_.signal_group(number);
  if (from_terminal && ::getpgid(cell_.agent()) == ::getpgrp()) return;
  ::syscall(SYS_pidfd_send_signal, cell_.agent_handle(), number, nullptr, 0);
}

/// With a terminal of its own, an agent that is not in front of it is stopped for reading or changing it.
void SignalRelay::stopped(int signal) {
  if (terminal_ == nullptr) return stop_too();
  if (signal == SIGTTIN || signal == SIGTTOU) {
    terminal_->take();
  } else if (!suspended_) {
    // An agent that stops itself again and again is stopped once.
    suspended_ = true;
    terminal_->suspend();
  }
}

void SignalRelay::hear_terminal() {
  const auto event = terminal_->next_event();
  if (event == TerminalRelay::Event::none) {
    // The relay was killed, and nothing can be typed any more: as when a window is closed.
    reactor_.defer([this] { terminal_watcher_.reset(); });
    if (!gone_) cell_.signal_group(SIGHUP);
    return;
  }
  suspended_ = false;
  cell_.go_on(event == TerminalRelay::Event::in_front);
}

/// A shell that waits for exec must see it stop with its child. SIGCONT wakes both.
void SignalRelay::stop_too() {
  ::raise(SIGSTOP);
}

void SignalRelay::hear_keeper() {
  pollfd source{cell_.events(), POLLIN, 0};
  while (::poll(&source, 1, 0) > 0 && (source.revents & POLLIN) != 0) {
    using Kind = sandbox::Cell::Event::Kind;
    auto event = cell_.next_event();
    if (event.kind == Kind::none) return;
    if (event.kind == Kind::stopped) {
      stopped(event.signal);
    } else if (event.kind == Kind::connected) {
      on_connection_(std::move(event.connection));
    }
  }
}

void SignalRelay::look_at_child() {
  while (!gone_) {
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(cell_.child()), &info, WEXITED | WSTOPPED | WNOHANG) != 0) {
      if (errno != ECHILD) return;
      info.si_code = CLD_EXITED;  // somebody else has taken its status
      info.si_status = 0;
    } else if (info.si_pid == 0) {
      return;
    }
    if (info.si_code == CLD_STOPPED) {
      if (cell_.agent() == cell_.child()) stop_too();
      continue;
    }
    gone_ = true;
    if (keeper_) hear_keeper();  // its last words
    on_exit_(info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status);
  }
}

bool SignalRelay::agent_lives() const {
  pollfd handle{cell_.agent_handle(), POLLIN, 0};  // can be read when the process has ended (pidfd_open(2))
  return !gone_ && ::poll(&handle, 1, 0) == 0;
}

}  // namespace agentvault::session
