#include "broker/plans.hpp"

#include <algorithm>

namespace agentvault::broker {

bool Plans::add(std::vector<std::string> delegations, std::vector<policy::Rule> steps) {
  const auto holder = [](const std::vector<std::string>& chain) {
    return chain.empty() ? std::string() : chain.front();
  };
  const auto own = std::count_if(plans_.begin(), plans_.end(),
                                 [&](const Plan& plan) { return holder(plan.delegations) == holder(delegations); });
  if (static_cast<std::size_t>(own) >= kMostPlans) return false;
  plans_.push_back({std::move(delegations), policy::RuleSet(std::move(steps))});
  return true;
}

std::vector<const policy::RuleSet*> Plans::of(const std::vector<std::string>& delegations) const {
  std::vector<const policy::RuleSet*> found;
  for (const auto& plan : plans_) {
    const auto& own = plan.delegations;
    if (own.size() > delegations.size() || !std::equal(own.begin(), own.end(), delegations.begin())) continue;
    found.push_back(&plan.steps);
  }
  return found;
}

bool Plans::any_asks_for_body() const {
  return std::any_of(plans_.begin(), plans_.end(), [](const auto& plan) { return plan.steps.asks_for_body(); });
}

}  // namespace agentvault::broker
