// One event loop over epoll, for one thread. Descriptors are watched edge-triggered: a watcher reads or writes until
// EAGAIN, or remembers that it did not. Timers run on CLOCK_BOOTTIME, so that a suspend counts. An exception that
// leaves a callback is logged, and the loop goes on: whoever has something to close catches it before.
//
// A turn of the loop: what is ready, timers that are due, what was put off (Soon, defer), before_sending(), and at last
// what was written is sent.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/file.hpp"

struct epoll_event;

namespace agentvault::net {

/// Time since boot, suspend included.
using BootTime = std::chrono::nanoseconds;
BootTime boot_time();

class Watcher {
 public:
  virtual ~Watcher() = default;
  /// `events` is a set of EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR.
  virtual void on_ready(std::uint32_t events) = 0;
  /// Urgent ones have their turn before all others that are ready.
  virtual bool urgent() const { return false; }
};

class Soon;
class Timer;

class Reactor {
 public:
  using Task = std::function<void()>;

  Reactor();

  /// The watcher must stay until remove() was called for the descriptor, which must come before it is closed.
  void add(int fd, std::uint32_t events, Watcher* watcher);
  void remove(int fd, Watcher* watcher);

  /// Runs before the loop waits again. For what must not happen inside a callback; see also Soon.
  void defer(Task task) { deferred_.push_back(std::move(task)); }
  /// Runs at the end of every turn, before what was written in it is sent. There is one; an empty task ends it.
  void before_sending(Task task) { before_sending_ = std::move(task); }
  /// Destroys the object before the loop waits again: safe to call from its own callback.
  template <class T>
  void retire(std::unique_ptr<T> object) {
    retired_.push_back(std::shared_ptr<void>(std::move(object)));
  }

  /// Now: before what they refer to goes, where the loop does not run any more.
  void destroy_retired();

  /// Until stop(). Can be run again.
  void run();
  void stop() { stopped_ = true; }

 private:
  friend class Timer;
  friend class Soon;
  /// When a timer is looked at, which may be before it is due.
  using TimerId = std::pair<BootTime, std::uint64_t>;

  void run_ready(const epoll_event* events, bool urgent_ones);
  void run_deferred();
  void run_all(std::vector<Soon*>& asked);
  void send();
  void run_timers();
  int wait_milliseconds() const;

  UniqueFd epoll_;
  std::map<TimerId, Timer*> timers_;
  std::uint64_t next_timer_ = 0;
  std::vector<Task> deferred_;
  std::vector<Soon*> soon_;
  std::vector<Soon*> sends_;
  std::vector<Soon*> running_;  // null once destroyed
  Task before_sending_;
  std::vector<std::shared_ptr<void>> retired_;
  std::vector<Watcher*> batch_;  // whose turn it is; null once removed
  bool stopped_ = false;
};

/// Runs its task once, before the loop waits again, however often it was asked to; never inside of ask(), and not once
/// it was destroyed. The reactor outlives it.
class Soon {
 public:
  /// `sends`: at the end of the turn, after before_sending().
  Soon(Reactor& reactor, Reactor::Task task, bool sends = false)
      : reactor_(reactor), task_(std::move(task)), sends_(sends) {}
  ~Soon();
  Soon(const Soon&) = delete;
  Soon& operator=(const Soon&) = delete;

  void ask();

 private:
  friend class Reactor;
  Reactor& reactor_;
  Reactor::Task task_;
  bool sends_;
  bool asked_ = false;
};

/// Runs one task later, unless it is set anew, cancelled or destroyed before. Setting one anew to a later time, again
/// and again, costs next to nothing. The reactor outlives it.
class Timer {
 public:
  explicit Timer(Reactor& reactor) : reactor_(reactor) {}
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void set(std::chrono::milliseconds delay, Reactor::Task task);
  void cancel() { task_ = nullptr; }
  bool is_set() const { return task_ != nullptr; }

 private:
  friend class Reactor;
  void enter();

  Reactor& reactor_;
  Reactor::Task task_;  // empty: not set
  BootTime due_{};
  std::optional<Reactor::TimerId> entry_;  // in the reactor's list: not after due_
};

}  // namespace agentvault::net
