#include "broker/plans.hpp"

#include <algorithm>

namespace agentvault::broker {

bool Plans::add(std::vector<std::string> delegations, std::vector<policy::Rule> steps) {
  const auto holder = [](const std::vector<std::string>& chain) {
    return chain.empty() ? std::string() : chain.front();
  };
  std::size_t plans = 0, own_steps = steps.size(), all_steps = steps.size();
  for (const auto& plan : plans_) {
    all_steps += plan.size;
    if (holder(plan.delegations) != holder(delegations)) continue;
    ++plans;
    own_steps += plan.size;
  }
  if (plans >= kMostPlans || own_steps > kMostSteps || all_steps > kMostStepsOfAll) return false;
  const std::size_t size = steps.size();
  plans_.push_back({std::move(delegations), size, policy::RuleSet(std::move(steps))});
  asks_for_body_ = asks_for_body_ || plans_.back().steps.asks_for_body();
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

}  // namespace agentvault::broker
