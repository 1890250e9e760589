// Plans: what an agent said it was going to do, and is held to from then on. A plan only takes away. It is bound to the
// chain of delegations that it was declared with, so that keeping a wider token does not help: without any delegation
// it holds for the whole session.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "policy/rule_set.hpp"

namespace agentvault::broker {

class Plans {
 public:
  /// Of one sub-agent with all that it has handed on, or of the session itself: none can use up another one's.
  static constexpr std::size_t kMostPlans = 64;
  static constexpr std::size_t kMostSteps = 2'000;
  /// Of all together.
  static constexpr std::size_t kMostStepsOfAll = 16'000;

  /// False: there are too many. `delegations`: of the token that it was declared with, the outermost first.
  bool add(std::vector<std::string> delegations, std::vector<policy::Rule> steps);

  /// Those that hold for a token with these delegations.
  std::vector<const policy::RuleSet*> of(const std::vector<std::string>& delegations) const;
  bool empty() const { return plans_.empty(); }
  bool any_asks_for_body() const { return asks_for_body_; }

 private:
  struct Plan {
    std::vector<std::string> delegations;
    std::size_t size;
    policy::RuleSet steps;
  };
  std::vector<Plan> plans_;
  bool asks_for_body_ = false;
};

}  // namespace agentvault::broker
