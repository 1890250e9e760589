// What one set of rules permits that another does not, and whether a set of rules can ever permit something: with an
// example request for each. Examples are judged by the same rule sets that judge real requests, so none is made up.
#pragma once

#include <string>
#include <vector>

#include "policy/egress.hpp"
#include "policy/request_space.hpp"
#include "policy/rule_set.hpp"

namespace agentvault::policy {

/// One host for each that is listed ("*.example.net": one below it), and one that none of them is about.
std::vector<std::string> hosts_told_apart(const std::vector<std::string>& listed);

/// What rules are rules of.
struct Place {
  std::string credential;  // "": requests without one
  std::string host;
  std::string base{};           // no path outside of it is its
  bool opaque_slashes = false;  // %2F in a path is a character to it
};

struct Difference {
  Effect before = Effect::deny;
  Effect after = Effect::deny;
  std::string rule;  // of the new ones, that decided
  Example example;
};

struct Comparison {
  std::vector<Difference> widened;  // one for each rule and kind of change
  /// False: too many combinations; there may be more than was found.
  bool complete = true;
};

/// Where `after` permits more than `before`: what was denied is asked or allowed, what was asked is allowed.
Comparison widenings(const std::vector<Rule>& before, const std::vector<Rule>& after, const Place& place);

/// Requests that the claim's methods and paths describe, and that the rules allow (or, `asked` as well, ask about).
Comparison permitted(const std::vector<Rule>& rules, const Rule& claim, bool asked, const Place& place);

/// What an agent may reach without a credential.
struct Reach {
  Egress egress;
  std::vector<Rule> rules;  // those that name no credential
};
/// The same as widenings(), for tunnels and for requests that can be read.
Comparison reach_widenings(const Reach& before, const Reach& after);

}  // namespace agentvault::policy
