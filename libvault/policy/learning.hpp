// The narrowest rules that would have allowed what was observed, for a person to review.
#pragma once

#include <string>
#include <vector>

#include "policy/rule.hpp"

namespace agentvault::policy {

struct Observed {
  std::string credential;
  std::string method;
  std::string path;    // the normal form
  bool asked = false;  // a person approved it
  bool operator==(const Observed&) const = default;
};

struct Learned {
  std::vector<Rule> rules;
  std::vector<Observed> left_out;  // a rule for them would be one for others, too
};

/// One rule for each credential and set of methods. Segments that look like identifiers become '*' where several of
/// them were seen in the same place. What was asked about will be asked about again.
Learned learn(const std::vector<Observed>& observed);

/// A whole policy file for one agent. `hosts`: reached without a credential.
std::string write_policy(const std::string& agent, const std::vector<std::string>& credentials,
                         const std::vector<std::string>& hosts, const Learned& learned);

}  // namespace agentvault::policy
