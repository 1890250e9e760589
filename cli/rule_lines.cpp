#include "rule_lines.hpp"

namespace agentvault::cli {

void add_rules(const std::vector<policy::Rule>& rules, bool json, Record& record) {
  std::vector<std::string> lines;
  for (const auto& rule : rules) lines.push_back(describe(rule));
  if (json) {
    record.emplace_back("rules", std::move(lines));
    return;
  }
  for (std::size_t i = 0; i < lines.size(); ++i) record.emplace_back("rule_" + std::to_string(i + 1), lines[i]);
}

}  // namespace agentvault::cli
