// Finds, for a set of patterns, one example for every way in which they can match: patterns are regular, so a walk
// through the automaton of all of them together meets each combination, by its shortest text.
#pragma once

#include <string>
#include <vector>

#include "http/path_pattern.hpp"

namespace agentvault::policy {

struct Witness {
  std::string text;
  std::vector<bool> matches;  // by pattern
};

struct Witnesses {
  std::vector<Witness> all;
  bool complete = true;  // false: the patterns are too many and too different; there may be more
};

/// Paths in their normal form. `opaque_slashes`: they may hold %2F, and `matches` has a second half: how the patterns
/// match what http::with_slashes() makes of the path.
Witnesses path_witnesses(const std::vector<http::PathPattern>& patterns, bool opaque_slashes = false);
/// Texts, with '*' for any run of characters.
Witnesses text_witnesses(const std::vector<std::string>& globs);

}  // namespace agentvault::policy
