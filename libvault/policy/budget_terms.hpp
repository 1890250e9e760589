// What an agent may use up (schemas/policy.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace agentvault::policy {

struct BudgetTerms {
  std::optional<std::uint64_t> requests_per_minute;
  std::optional<std::uint64_t> requests_per_day;
  std::optional<std::uint64_t> tokens_per_day;    // of models, input and output together
  std::optional<std::uint64_t> microusd_per_day;  // millionths of a US dollar

  bool empty() const { return !requests_per_minute && !requests_per_day && !tokens_per_day && !microusd_per_day; }
  /// Whether what a model uses must be known.
  bool meters_models() const { return tokens_per_day || microusd_per_day; }
  bool operator==(const BudgetTerms&) const = default;
};

/// "60 requests a minute, 5 USD a day"; "" without any.
std::string describe(const BudgetTerms& terms);

}  // namespace agentvault::policy
