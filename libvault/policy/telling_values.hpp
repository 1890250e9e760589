// Values that tell apart what rules say about one place of a request: for every way in which they can answer, one.
#pragma once

#include <string>
#include <vector>

#include "policy/values.hpp"

namespace agentvault::policy {

/// What can stand in one place of a request, as far as the rules can tell it apart.
struct Choice {
  enum class Kind { missing, text, number, flag, odd } kind = Kind::missing;
  std::string text;
  double number = 0;
  bool flag = false;
};

/// `is_json`: values have types there; elsewhere all are texts. `complete` becomes false where there may be ways
/// without a choice.
std::vector<Choice> telling_choices(const std::vector<const Values*>& all, bool is_json, bool& complete);

}  // namespace agentvault::policy
