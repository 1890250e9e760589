#include "broker/deadline.hpp"

#include <algorithm>

namespace agentvault::broker {

void Deadline::arm(SessionState& session, const Request& request, std::function<void()> passed) {
  using std::chrono::milliseconds;
  auto left = std::chrono::duration_cast<milliseconds>(session.lease().hard_end() - net::boot_time());
  if (request.not_after) {
    const auto end = std::chrono::system_clock::from_time_t(static_cast<std::time_t>(*request.not_after) + 1);
    left = std::min(left, std::chrono::duration_cast<milliseconds>(end - session.time_for_tokens()));
  }
  timer_.set(left, std::move(passed));
}

}  // namespace agentvault::broker
