#include "broker/lease.hpp"

#include <algorithm>

namespace agentvault::broker {

Lease::Lease(std::chrono::seconds ttl, std::chrono::seconds max_lifetime, std::function<bool()> holder_lives)
    : ttl_(ttl),
      hard_end_(net::boot_time() + max_lifetime),
      deadline_(std::min(net::boot_time() + ttl, hard_end_)),
      holder_lives_(std::move(holder_lives)) {}

bool Lease::alive() {
  const auto now = net::boot_time();
  if (ended_ || now >= hard_end_) return false;
  // Renewing in the second half keeps the question "does the holder live" off most requests.
  if (now + ttl_ / 2 >= deadline_) {
    if (!holder_lives_()) {
      ended_ = true;
      return false;
    }
    deadline_ = std::min<net::BootTime>(now + ttl_, hard_end_);
  }
  return true;
}

}  // namespace agentvault::broker
