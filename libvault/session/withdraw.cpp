#include "session/withdraw.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
extern "C" {  // glibc 2.36 forgot to say so itself
#include <sys/pidfd.h>
}

#include <cerrno>

#include "base/error.hpp"
#include "session/registry.hpp"

namespace agentvault::session {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxAnswer = 4096;
constexpr std::chrono::seconds kDeathPatience{5};
constexpr int kPauseMilliseconds = 10;

enum class Outcome { waiting, done, gone };

/// A session, while it is told something.
class Listener {
 public:
  Listener(const keys::VaultPaths& paths, const Told& told)
      : paths_(paths), name_(told.session), line_(control_line(told.command)) {
    say();
  }

  const std::string& name() const { return name_; }
  int descriptor() const { return socket_.get(); }

  /// To be called until it no longer says waiting.
  Outcome look() {
    if (!socket_) say();  // its queue was full, or it was just starting
    if (socket_ && !rest_.empty()) go_on_saying();
    if (socket_ && answered()) return Outcome::done;
    return is_live(paths_, name_) ? Outcome::waiting : Outcome::gone;
  }

  /// By a handle of the process that holds the lock, still, once there is the handle: no number that somebody else has
  /// got since, and nobody who only says so.
  void kill() const {
    const pid_t pid = process_of(paths_, name_);
    const UniqueFd process(pid > 0 ? ::pidfd_open(pid, 0) : -1);
    if (process && process_of(paths_, name_) == pid) ::pidfd_send_signal(process.get(), SIGKILL, nullptr, 0);
  }

  void wait_for_death(Clock::time_point until) const {
    while (is_live(paths_, name_)) {
      if (Clock::now() >= until) {
        throw Error(
            ErrorKind::failed, "the session " + name_ + " can neither be reached nor be ended",
            "\"fuser " + (paths_.sessions() / (name_ + ".lock")).string() + "\" names its process: end it by hand");
      }
      ::poll(nullptr, 0, kPauseMilliseconds);
    }
  }

  /// Once done: whether what it was told to give up was its own.
  bool obeyed() const { return obeyed_; }

 private:
  void say() {
    try {
      socket_ = connect_control(paths_, name_);
    } catch (const Error&) {  // out of descriptors: the others are told, this one is tried again
    }
    if (!socket_) return;
    believed_ = is_the_session();
    rest_ = line_;
    go_on_saying();
  }

  /// A long line does not fit into the socket at once.
  void go_on_saying() {
    const ssize_t sent = ::send(socket_.get(), rest_.data(), rest_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      rest_.erase(0, static_cast<std::size_t>(sent));
    } else if (errno != EAGAIN && errno != EINTR) {
      socket_.reset();
    }
  }

  /// Whoever may write the folder could listen in the session's place, and say what it likes.
  bool is_the_session() const {
    ucred peer{};
    socklen_t size = sizeof peer;
    return ::getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid > 0 &&
           peer.pid == process_of(paths_, name_);
  }

  bool answered() {
    char buffer[kMaxAnswer];
    const ssize_t got = ::recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (got > 0) answer_.append(buffer, static_cast<std::size_t>(got));
    if (believed_ && answer_.ends_with('\n')) {
      const auto said = acknowledgement(answer_);
      obeyed_ = said == Acknowledgement::done;
      return said != Acknowledgement::none;
    }
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR) || answer_.size() > kMaxAnswer) {
      socket_.reset();
      answer_.clear();
    }
    return false;
  }

  keys::VaultPaths paths_;
  std::string name_;
  std::string line_;
  std::string rest_;  // of it, still to be sent
  UniqueFd socket_;
  std::string answer_;
  bool believed_ = false;
  bool obeyed_ = false;
};

/// One descriptor a session.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

void wait_for_any(const std::vector<Listener>& waiting) {
  std::vector<pollfd> sockets;
  for (const auto& told : waiting) {
    if (told.descriptor() >= 0) sockets.push_back({told.descriptor(), POLLIN, 0});
  }
  ::poll(sockets.data(), sockets.size(), kPauseMilliseconds);
}

}  // namespace

Withdrawn tell(const keys::VaultPaths& paths, const std::vector<Told>& all, Silent silent) {
  raise_descriptor_limit();
  std::vector<Listener> waiting;
  for (const auto& told : all) waiting.emplace_back(paths, told);
  Withdrawn result;
  for (const auto end = Clock::now() + kControlPatience; !waiting.empty() && Clock::now() < end;) {
    std::erase_if(waiting, [&](Listener& told) {
      const Outcome outcome = told.look();
      if (outcome == Outcome::done) (told.obeyed() ? result.told : result.indifferent).push_back(told.name());
      return outcome != Outcome::waiting;
    });
    if (!waiting.empty()) wait_for_any(waiting);
  }
  auto& rest = silent == Silent::leave ? result.silent : result.killed;
  for (const auto& told : waiting) rest.push_back(told.name());
  if (silent == Silent::leave) return result;
  for (auto& told : waiting) told.kill();  // all of them, before one that cannot be killed is complained about
  for (const auto& told : waiting) told.wait_for_death(Clock::now() + kDeathPatience);
  return result;
}

Withdrawn withdraw(const keys::VaultPaths& paths, const std::vector<std::string>& sessions,
                   const ControlCommand& command, Silent silent) {
  std::vector<Told> all;
  for (const auto& name : sessions) all.push_back({name, command});
  return tell(paths, all, silent);
}

}  // namespace agentvault::session
