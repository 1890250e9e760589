// What a session has done so far, as far as rules ask (policy::ApproveWhen). Bounded: what no longer fits counts as
// new.
#pragma once

#include <chrono>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_set>

#include "policy/rule.hpp"

namespace agentvault::broker {

class SessionHistory {
 public:
  using Clock = std::chrono::steady_clock;

  policy::History of(std::string_view credential, std::string_view host, std::string_view method, std::string_view path,
                     Clock::time_point now);
  void allowed(std::string_view credential, std::string_view host, std::string_view method, std::string_view path);
  void denied(Clock::time_point now);

 private:
  static constexpr std::size_t kMostPlaces = 20'000;
  static constexpr std::size_t kMostDenials = 1000;

  std::unordered_set<std::string> places_;
  std::deque<Clock::time_point> denials_;
};

}  // namespace agentvault::broker
