// All rules that concern one credential, or requests without one, ready to decide.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "policy/path_index.hpp"
#include "policy/rule.hpp"

namespace agentvault::policy {

/// A negative decision is a value like any other. Without a rule that matches, it is to deny.
struct Decision {
  Effect effect = Effect::deny;
  /// Which rule decided, counted from 1 in the list's order; nothing when none matched.
  std::optional<std::size_t> rule;

  bool allowed() const { return effect == Effect::allow; }
};

class RuleSet {
 public:
  RuleSet() = default;
  explicit RuleSet(std::vector<Rule> rules);

  Decision decide(const Facts& facts) const;
  /// For a tunnel, of which only host and credential are known: a rule that names hosts and does not allow matches
  /// whatever else it says, one that allows only when it says nothing else.
  Decision decide_tunnel(const Facts& facts) const;
  /// What has to be known of the body of such a request.
  Questions questions(std::string_view method, std::string_view path) const;
  /// Whether any rule asks for one.
  bool asks_for_body() const { return asks_for_body_; }
  /// Whether some rule looks at a header of this name.
  bool names_header(std::string_view name) const;
  /// Whether some rule looks at what the session has seen.
  bool asks_for_history() const { return asks_for_history_; }

  const std::vector<Rule>& rules() const { return rules_; }
  /// "rule 3 (deny)", "policy line 14 (allow)", or "no rule matches".
  std::string explain(const Decision& decision) const;

 private:
  std::vector<Rule> rules_;
  PathIndex index_;
  bool asks_for_body_ = false;
  bool asks_for_history_ = false;
};

}  // namespace agentvault::policy
