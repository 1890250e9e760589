// How long the tokens of a session live: on a lease that is renewed while the child runs, and never past a hard end.
// Runs on CLOCK_BOOTTIME, so that a suspended machine ages its tokens.
#pragma once

#include <chrono>
#include <functional>

#include "net/reactor.hpp"

namespace agentvault::broker {

class Lease {
 public:
  /// `holder_lives` is asked whenever the lease would be renewed.
  Lease(std::chrono::seconds ttl, std::chrono::seconds max_lifetime, std::function<bool()> holder_lives);

  /// Renews what has lapsed while nobody looked (a suspend), if the holder lives. Then: may requests be judged?
  bool alive();
  /// Dead from now on.
  void end() { ended_ = true; }
  /// When the hard end comes.
  net::BootTime hard_end() const { return hard_end_; }

 private:
  std::chrono::seconds ttl_;
  net::BootTime hard_end_;
  net::BootTime deadline_;
  std::function<bool()> holder_lives_;
  bool ended_ = false;
};

}  // namespace agentvault::broker
