// Rules as people read them.
#pragma once

#include <vector>

#include "output.hpp"
#include "policy/rule.hpp"

namespace agentvault::cli {

/// "rules" with --json, else "rule_1", "rule_2" ...: as decisions count them.
void add_rules(const std::vector<policy::Rule>& rules, bool json, Record& record);

}  // namespace agentvault::cli
