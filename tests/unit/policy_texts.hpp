// Policies and rules as they are written.
#pragma once

#include <string>

#include "policy/document.hpp"

inline agentvault::policy::Document parse(const std::string& rest) {
  return agentvault::policy::parse_document("version = 1\n" + rest, "p.toml");
}

/// One rule, as it stands under [[agents.a.rules]].
inline agentvault::policy::Rule rule_of(const std::string& lines) {
  return parse("[[agents.a.rules]]\n" + lines).agents.front().rules.front();
}
