#include "session/terminal_relay.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "base/installed_group.hpp"
#include "sandbox/own_terminal.hpp"
#include "sandbox/standard_streams.hpp"

namespace agentvault::session {
namespace {

constexpr std::size_t kMostHeld = 65536;  // bytes for each side
constexpr int kFlushPatience = 1000;      // milliseconds

/// To the relay, one byte each.
enum Order : char { kBegin = 'b', kTake = 't', kSuspend = 's' };
/// From it.
enum Answer : char { kInFront = 'f', kBehind = 'h' };

/// Whether this process' group is in front; also of a terminal that controls nobody here.
bool is_in_front(int terminal) {
  const pid_t front = ::tcgetpgrp(terminal);
  return front < 0 || front == ::getpgrp();
}

pid_t parent_of(pid_t process) {
  std::ifstream stat("/proc/" + std::to_string(process) + "/stat");
  std::string line;
  std::getline(stat, line);
  const auto end = line.rfind(')');  // the name before it may hold anything
  int parent = 0;
  if (end == std::string::npos || end + 4 > line.size()) return 0;
  return std::sscanf(line.c_str() + end + 4, "%d", &parent) == 1 ? parent : 0;
}

/// A group that nobody could continue is not stopped: one without a parent of the same session (POSIX: orphaned).
bool can_be_stopped() {
  pid_t parent = ::getppid();
  while (parent > 1 && ::getpgid(parent) == ::getpgrp()) parent = parent_of(parent);
  return parent > 0 && ::getsid(parent) == ::getsid(0) && ::getpgid(parent) != ::getpgrp();
}

/// Line ends are made for a terminal in one place: inside while the person's is raw, else by that one. Returns what was
/// set before.
tcflag_t leave_line_ends(int terminal) {
  termios settings{};
  if (::tcgetattr(terminal, &settings) != 0) return 0;
  const tcflag_t before = settings.c_oflag;
  settings.c_oflag &= ~static_cast<tcflag_t>(OPOST);
  ::tcsetattr(terminal, TCSANOW, &settings);
  return before;
}
void make_line_ends(int terminal, tcflag_t as_before) {
  termios settings{};
  if (::tcgetattr(terminal, &settings) != 0) return;
  settings.c_oflag = as_before;
  ::tcsetattr(terminal, TCSANOW, &settings);
}

/// The process itself.
class Relay {
 public:
  /// `output`: what the agent's terminal is to be set to when the person's is taken.
  Relay(UniqueFd agent, UniqueFd control, bool in_front, bool can_stop, std::optional<tcflag_t> output)
      : agent_(std::move(agent)),
        person_(sandbox::OwnTerminal::persons(O_NONBLOCK)),  // its other users are not to notice that
        control_(std::move(control)),
        starts_in_front_(in_front),
        can_stop_(can_stop),
        output_(output) {
    ::fcntl(agent_.get(), F_SETFL, O_NONBLOCK);
    sigset_t all, heard;
    ::sigfillset(&all);
    ::sigprocmask(SIG_BLOCK, &all, nullptr);
    ::sigemptyset(&heard);
    ::sigaddset(&heard, SIGWINCH);
    ::sigaddset(&heard, SIGCONT);
    signals_.reset(::signalfd(-1, &heard, SFD_NONBLOCK | SFD_CLOEXEC));
  }

  void run() {
    while (!is_over()) {
      const bool typing = taken_ && to_agent_.size() < kMostHeld;
      // Before the person's terminal was taken, line ends would be made twice.
      const bool listening = agent_ && begun_ && to_person_.size() < kMostHeld;
      pollfd sources[]{
          {control_.get(), POLLIN, 0},
          {signals_.get(), POLLIN, 0},
          {agent_.get(), static_cast<short>((listening ? POLLIN : 0) | (to_agent_.empty() ? 0 : POLLOUT)), 0},
          {typing || !to_person_.empty() ? person_.get() : -1,
           static_cast<short>((typing ? POLLIN : 0) | (to_person_.empty() ? 0 : POLLOUT)), 0}};
      // An agent's end that nobody holds any more is not to be waited for.
      if (!listening && to_agent_.empty()) sources[2].fd = -1;
      if (::poll(sources, std::size(sources), -1) < 0 && errno != EINTR) break;
      if (sources[1].revents != 0) hear_signals();
      if (sources[2].revents != 0) exchange_with_agent();
      if (sources[3].revents != 0) exchange_with_person();
      if (sources[0].revents != 0) hear_exec();
    }
    give_back();
  }

 private:
  /// exec is gone or has no more to say, the agent has said everything, and it is shown.
  bool is_over() const { return !control_ && (!begun_ || (!agent_ && (to_person_.empty() || !person_))); }

  void hear_exec() {
    char order = 0;
    const ssize_t got = ::recv(control_.get(), &order, 1, 0);
    if (got <= 0 && errno != EINTR) return control_.reset();
    begun_ = begun_ || order == kBegin;
    if (order == kBegin && starts_in_front_) set_raw();
    if (order == kTake) take();
    if (order == kSuspend) suspend();
  }

  void answer(Answer answer) const {
    const char byte = answer;
    [[maybe_unused]] const ssize_t sent = ::send(control_.get(), &byte, 1, MSG_NOSIGNAL);
  }

  /// From behind, the shell has to bring the group to the front first.
  void take() {
    show_the_rest();
    while (person_ && can_stop_ && !is_in_front(person_.get())) ::kill(0, SIGSTOP);
    if (person_ && is_in_front(person_.get())) set_raw();
    answer(kInFront);
  }

  void suspend() {
    const bool was_taken = taken_;
    show_the_rest();
    give_back();
    if (can_stop_) ::kill(0, SIGSTOP);
    // Here it has been continued.
    resize();
    const bool in_front = was_taken && person_ && is_in_front(person_.get());
    if (in_front) set_raw();
    answer(in_front || !can_stop_ ? kInFront : kBehind);
  }

  /// A terminal that controls somebody else's session is read as it is.
  void set_raw() {
    if (!person_ || taken_) return;
    taken_ = true;
    raw_ = ::tcgetpgrp(person_.get()) >= 0 && ::tcgetattr(person_.get(), &before_) == 0 && make_raw();
    lost_ = false;
    if (taken_ && output_) make_line_ends(agent_.get(), *output_);
    if (taken_) output_.reset();
  }
  bool make_raw() const {
    termios raw = before_;
    ::cfmakeraw(&raw);
    return ::tcsetattr(person_.get(), TCSADRAIN, &raw) == 0;
  }
  void give_back() {
    if (raw_ && is_in_front(person_.get())) ::tcsetattr(person_.get(), TCSADRAIN, &before_);
    raw_ = taken_ = false;
  }

  void hear_signals() {
    signalfd_siginfo info;
    bool continued = false;
    while (::read(signals_.get(), &info, sizeof info) > 0) continued = continued || info.ssi_signo == SIGCONT;
    resize();
    if (!continued || !person_ || !is_in_front(person_.get())) return;
    // Somebody has stopped exec alone, and the shell had the terminal meanwhile.
    if (lost_) set_raw();
    if (raw_) make_raw();
  }

  void resize() {
    winsize size{};
    if (person_ && agent_ && ::ioctl(person_.get(), TIOCGWINSZ, &size) == 0) ::ioctl(agent_.get(), TIOCSWINSZ, &size);
  }

  void exchange_with_agent() {
    if (!pass(agent_, to_agent_)) to_agent_.clear();
    // EIO: nobody holds the inner end any more.
    if (to_person_.size() < kMostHeld && !fetch(agent_, to_person_)) agent_.reset();
  }
  void exchange_with_person() {
    const bool shown = pass(person_, to_person_);
    const bool there = !taken_ || fetch(person_, to_agent_);
    if (shown && there) return;
    if (shown && errno == EIO && !is_in_front(person_.get())) {
      raw_ = taken_ = false;
      lost_ = true;
      return;
    }
    // The window is closed: so is the agent's terminal.
    raw_ = taken_ = false;
    person_.reset();
    agent_.reset();
  }

  void show_the_rest() {
    while (agent_ && fetch(agent_, to_person_) && to_person_.size() < kMostHeld) {
      pollfd more{agent_.get(), POLLIN, 0};
      if (::poll(&more, 1, 0) <= 0) break;
    }
    while (person_ && !to_person_.empty()) {
      pollfd room{person_.get(), POLLOUT, 0};
      if (::poll(&room, 1, kFlushPatience) <= 0 || !pass(person_, to_person_)) break;
    }
  }

  /// False: there is nobody on the other side any more.
  static bool fetch(const UniqueFd& from, std::string& held) {
    char part[4096];
    const ssize_t got = ::read(from.get(), part, sizeof part);
    if (got > 0) held.append(part, static_cast<std::size_t>(got));
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
  }
  static bool pass(const UniqueFd& to, std::string& held) {
    if (held.empty()) return true;
    const ssize_t sent = ::write(to.get(), held.data(), held.size());
    if (sent > 0) held.erase(0, static_cast<std::size_t>(sent));
    return sent >= 0 || errno == EAGAIN || errno == EINTR;
  }

  UniqueFd agent_;
  UniqueFd person_;
  UniqueFd control_;
  UniqueFd signals_;
  const bool starts_in_front_;
  const bool can_stop_;
  std::optional<tcflag_t> output_;
  bool begun_ = false;
  bool taken_ = false;  // what is typed is the agent's
  bool raw_ = false;
  bool lost_ = false;  // somebody else came to the front
  termios before_{};
  std::string to_agent_;
  std::string to_person_;
};

}  // namespace

TerminalRelay::TerminalRelay(UniqueFd agents_end) {
  const auto streams = sandbox::OwnTerminal::streams();
  const auto is_terminal = [&](int fd) { return std::find(streams.begin(), streams.end(), fd) != streams.end(); };
  starts_in_front_ = is_terminal(STDIN_FILENO) && is_terminal(STDOUT_FILENO) && is_in_front(STDIN_FILENO);
  const bool can_stop = can_be_stopped();
  std::optional<tcflag_t> output;
  if (!starts_in_front_) output = leave_line_ends(agents_end.get());
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) throw_errno("make a channel");
  control_.reset(ends[0]);
  UniqueFd theirs(ends[1]);
  process_ = ::fork();
  if (process_ < 0) throw_errno("start a process");
  if (process_ > 0) return;
  InstalledGroup::let_go_of_vault();
  InstalledGroup::give_up();
  sandbox::close_all_but_standard_streams({agents_end.get(), theirs.get()});
  Relay(std::move(agents_end), std::move(theirs), starts_in_front_, can_stop, output).run();
  ::_exit(0);
}

TerminalRelay::~TerminalRelay() {
  control_.reset();
  int status = 0;
  while (::waitpid(process_, &status, 0) < 0 && errno == EINTR) {
  }
}

void TerminalRelay::begin() const {
  const char order = kBegin;
  ::send(control_.get(), &order, 1, MSG_NOSIGNAL);
}
void TerminalRelay::take() const {
  const char order = kTake;
  ::send(control_.get(), &order, 1, MSG_NOSIGNAL);
}
void TerminalRelay::suspend() const {
  const char order = kSuspend;
  ::send(control_.get(), &order, 1, MSG_NOSIGNAL);
}

TerminalRelay::Event TerminalRelay::next_event() const {
  char answer = 0;
  if (::recv(control_.get(), &answer, 1, MSG_DONTWAIT) != 1) return Event::none;
  return answer == kInFront ? Event::in_front : Event::behind;
}

}  // namespace agentvault::session
