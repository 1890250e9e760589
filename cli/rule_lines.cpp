#include "rule_lines.hpp"

#include "base/text.hpp"

namespace agentvault::cli {

void add_rules(const std::vector<policy::Rule>& rules, bool json, Record& record) {
  std::vector<std::string> lines;
  for (const auto& rule : rules) {
    std::vector<std::string> paths;
    for (const auto& pattern : rule.paths) paths.push_back(pattern.text());
    lines.push_back(std::string(rule.effect == policy::Effect::allow ? "allow " : "deny ") + join(rule.methods, "|") +
                    " " + join(paths, " "));
  }
  if (json) {
    record.emplace_back("rules", std::move(lines));
    return;
  }
  for (std::size_t i = 0; i < lines.size(); ++i) record.emplace_back("rule_" + std::to_string(i + 1), lines[i]);
}

}  // namespace agentvault::cli
