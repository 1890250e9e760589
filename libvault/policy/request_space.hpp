// Every way in which a set of rules can judge a request, by an example for each: paths from the automaton of all
// patterns (witness.hpp), values where the rules tell them apart.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "policy/rule.hpp"

namespace agentvault::policy {

/// A request, as far as rules can tell.
struct Example {
  std::string method;
  std::string path;
  std::string query;  // without '?'; "": none
  http::Fields fields;
  std::optional<std::string> body;
  std::uint64_t body_size = 0;
  LocalTime time;  // shown where it is not noon on Monday
  History history;

  /// "POST /v1/x?a=1, Content-Type: application/json, body {...}, at 08:00 mon"
  std::string text() const;
};

/// Calls `visit` with each. `opaque_slashes`: a path may hold %2F, which some rules read as a slash besides
/// (http::with_slashes). False: there may be ways that were not tried.
bool each_example(const std::vector<const Rule*>& rules, bool opaque_slashes,
                  const std::function<void(const Example&)>& visit);

}  // namespace agentvault::policy
