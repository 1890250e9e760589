#include "net/reactor.hpp"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <utility>

#include "base/error.hpp"
#include "base/log.hpp"

namespace agentvault::net {
namespace {

constexpr int kMostRounds = 8;  // of what was put off, before descriptors have their turn again

template <class Callback>
void guarded(const Callback& callback) {
  try {
    callback();
  } catch (const std::exception& error) {
    log::warning(std::string("an event could not be handled: ") + error.what());
  }
}

}  // namespace

BootTime boot_time() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

Reactor::Reactor() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (!epoll_) throw_errno("create an event loop");
}

void Reactor::add(int fd, std::uint32_t events, Watcher* watcher) {
  epoll_event event{};
  event.events = events | EPOLLET;
  event.data.ptr = watcher;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) throw_errno("watch a connection");
}

void Reactor::remove(int fd, Watcher* watcher) {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  std::replace(batch_.begin(), batch_.end(), watcher, static_cast<Watcher*>(nullptr));
}

Timer::~Timer() {
  if (entry_) reactor_.timers_.erase(*entry_);
}

void Timer::enter() {
  entry_.emplace(due_, ++reactor_.next_timer_);
  reactor_.timers_.emplace(*entry_, this);
}

void Timer::set(std::chrono::milliseconds delay, Reactor::Task task) {
  task_ = std::move(task);
  due_ = boot_time() + delay;
  // An earlier entry will do: when its time has come, the timer is entered again.
  if (entry_ && entry_->first <= due_) return;
  if (entry_) reactor_.timers_.erase(*entry_);
  enter();
}

Soon::~Soon() {
  for (auto* list : {&reactor_.soon_, &reactor_.sends_, &reactor_.running_}) {
    std::replace(list->begin(), list->end(), this, static_cast<Soon*>(nullptr));
  }
}

void Soon::ask() {
  if (std::exchange(asked_, true)) return;
  (sends_ ? reactor_.sends_ : reactor_.soon_).push_back(this);
}

int Reactor::wait_milliseconds() const {
  if (!deferred_.empty() || !soon_.empty() || !sends_.empty()) return 0;
  if (timers_.empty()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(timers_.begin()->first.first - boot_time());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
}

void Reactor::run_all(std::vector<Soon*>& asked) {
  running_.swap(asked);
  // By index: a task may destroy others, which are null then.
  for (std::size_t i = 0; i < running_.size(); ++i) {
    if (running_[i] == nullptr) continue;
    running_[i]->asked_ = false;
    guarded(running_[i]->task_);
  }
  running_.clear();
}

void Reactor::run_deferred() {
  // A task may put off the next one, and descriptors must have their turn in between.
  for (int round = 0; round < kMostRounds && (!deferred_.empty() || !soon_.empty()); ++round) {
    std::vector<Task> tasks;
    tasks.swap(deferred_);
    for (auto& task : tasks) guarded(task);
    run_all(soon_);
  }
}

void Reactor::send() {
  if (before_sending_) guarded(before_sending_);
  run_all(sends_);
}

void Reactor::destroy_retired() {
  // A destructor may retire others.
  while (!retired_.empty()) {
    std::vector<std::shared_ptr<void>> dying;
    dying.swap(retired_);
  }
}

void Reactor::run_timers() {
  const BootTime now = boot_time();
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    Timer& timer = *timers_.begin()->second;
    timers_.erase(timers_.begin());
    timer.entry_.reset();
    if (!timer.is_set()) continue;
    if (timer.due_ > now) {
      timer.enter();
      continue;
    }
    // It may be set anew in there, or destroyed.
    const Task task = std::exchange(timer.task_, nullptr);
    guarded(task);
  }
}

/// A callback may remove others of the same batch: batch_ is what remains of it.
void Reactor::run_ready(const epoll_event* events, bool urgent_ones) {
  for (std::size_t i = 0; i < batch_.size(); ++i) {
    if (batch_[i] == nullptr || batch_[i]->urgent() != urgent_ones) continue;
    Watcher* watcher = std::exchange(batch_[i], nullptr);
    guarded([&] { watcher->on_ready(events[i].events); });
  }
}

void Reactor::run() {
  std::array<epoll_event, 128> events;
  while (!stopped_) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), wait_milliseconds());
    if (count < 0 && errno != EINTR) throw_errno("wait for events");
    const auto ready = static_cast<std::size_t>(std::max(count, 0));
    batch_.clear();
    for (std::size_t i = 0; i < ready; ++i) batch_.push_back(static_cast<Watcher*>(events[i].data.ptr));
    run_ready(events.data(), true);
    run_ready(events.data(), false);
    batch_.clear();
    run_timers();
    run_deferred();
    send();
    destroy_retired();
  }
  stopped_ = false;
}

}  // namespace agentvault::net
