#include "policy/rule.hpp"

#include <algorithm>

namespace agentvault::policy {
namespace {

bool matches(const Rule& rule, std::string_view method, std::string_view path) {
  const bool method_fits = std::any_of(rule.methods.begin(), rule.methods.end(),
                                       [&](const auto& listed) { return listed == "*" || listed == method; });
  return method_fits &&
         std::any_of(rule.paths.begin(), rule.paths.end(), [&](const auto& pattern) { return pattern.matches(path); });
}

}  // namespace

Decision decide(const std::vector<Rule>& rules, std::string_view method, std::string_view path) {
  Decision decision;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    if (!matches(rules[i], method, path)) continue;
    if (rules[i].effect == Effect::deny) return {false, i + 1};
    if (!decision.rule) decision = {true, i + 1};
  }
  return decision;
}

std::string explain(const Decision& decision) {
  if (!decision.rule) return "no rule matches";
  return "rule " + std::to_string(*decision.rule) + (decision.allowed ? " (allow)" : " (deny)");
}

}  // namespace agentvault::policy
