// Rules, as policy files and plans write them.
#pragma once

#include "policy/rule.hpp"
#include "policy/strict_table.hpp"

namespace agentvault::policy {

/// One of [[agents.NAME.rules]]. Throws Error(usage) for what it cannot mean, with line and column.
Rule read_rule(const toml::table& source, const StrictTable& outer);

/// "allow", "approve" or "deny".
Effect read_effect(StrictTable& table, const char* key);

/// What a request must be like for it: all but its effect. The caller refuses what is unknown.
void read_conditions(StrictTable& table, Rule& rule);

}  // namespace agentvault::policy
