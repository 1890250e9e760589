// One event loop over epoll, for one thread. Descriptors are watched edge-triggered: a watcher reads or writes until
// EAGAIN, or remembers that it did not. Timers run on CLOCK_BOOTTIME, so that a suspend counts. An exception that
// leaves a callback is logged, and the loop goes on: whoever has something to close catches it before.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
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

class Reactor {
 public:
  using Task = std::function<void()>;

  Reactor();

  /// The watcher must stay until remove() was called for the descriptor, which must come before it is closed.
  void add(int fd, std::uint32_t events, Watcher* watcher);
  void remove(int fd, Watcher* watcher);

  /// Runs before the loop waits again. For what must not happen inside a callback.
  void defer(Task task) { deferred_.push_back(std::move(task)); }
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
  using TimerId = std::pair<BootTime, std::uint64_t>;

  void run_ready(const epoll_event* events, bool urgent_ones);
  void run_deferred();
  void run_timers();
  int wait_milliseconds() const;

  UniqueFd epoll_;
  std::map<TimerId, Task> timers_;
  std::uint64_t next_timer_ = 0;
  std::vector<Task> deferred_;
  std::vector<std::shared_ptr<void>> retired_;
  std::vector<Watcher*> batch_;  // whose turn it is; null once removed
  bool stopped_ = false;
};

/// Runs one task later, unless it is set anew, cancelled or destroyed before. The reactor outlives it.
class Timer {
 public:
  explicit Timer(Reactor& reactor) : reactor_(reactor) {}
  ~Timer() { cancel(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void set(std::chrono::milliseconds delay, Reactor::Task task);
  void cancel();
  bool is_set() const;

 private:
  Reactor& reactor_;
  Reactor::TimerId id_{};
};

}  // namespace agentvault::net
