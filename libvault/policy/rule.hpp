// Rules and the decision they give. Deny beats allow; what no rule matches is denied.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/path_pattern.hpp"

namespace agentvault::policy {

enum class Effect { allow, deny };

struct Rule {
  Effect effect = Effect::allow;
  std::vector<std::string> methods;  // "*" is every method
  std::vector<http::PathPattern> paths;

  bool operator==(const Rule&) const = default;
};

/// A negative decision is a value like any other.
struct Decision {
  bool allowed = false;
  /// Which rule decided, counted from 1 in the list's order; nothing when none matched.
  std::optional<std::size_t> rule;
};

Decision decide(const std::vector<Rule>& rules, std::string_view method, std::string_view path);

/// "rule 3 (deny)" or "no rule matches".
std::string explain(const Decision& decision);

}  // namespace agentvault::policy
