// What one set of rules permits that another does not, and whether a set of rules can ever permit something: with an
// example request for each. Examples are judged by the same rule sets that judge real requests, so none is made up.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "policy/rule_set.hpp"

namespace agentvault::policy {

/// A request that tells two sets of rules apart.
struct Example {
  std::string method;
  std::string path;
  std::string query;  // without '?'; "": none
  http::Fields fields;
  std::optional<std::string> body;
  std::uint64_t body_size = 0;
  LocalTime time;
  History history;

  /// "POST /v1/x?a=1, Content-Type: application/json, body {...}, at 08:00 mon"
  std::string text() const;
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

/// Where `after` permits more than `before`: what was denied is asked or allowed, what was asked is allowed. Both are
/// the rules of one credential at one host.
Comparison widenings(const std::vector<Rule>& before, const std::vector<Rule>& after, const std::string& credential,
                     const std::string& host);

/// Requests that the claim's methods and paths describe, and that the rules allow (or, `asked` as well, ask about).
Comparison permitted(const std::vector<Rule>& rules, const Rule& claim, bool asked, const std::string& credential,
                     const std::string& host);

}  // namespace agentvault::policy
