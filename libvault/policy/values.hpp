// What a rule says about one value of a request: a header, a field of query, form or JSON body.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace agentvault::policy {

/// Unknown: it cannot be told what the upstream will read there. Rules that allow take it for no, all others for yes.
enum class Match { no, yes, unknown };

/// What stands there, as far as rules look. Monostate: something else (null, a list, an object).
using Scalar = std::variant<std::monostate, std::string, double, bool>;

struct Values {
  std::vector<std::string> texts;  // '*' is any run of characters
  std::vector<double> numbers;
  std::vector<bool> flags;
  std::optional<double> least;
  std::optional<double> most;
  bool optional = false;  // a missing value will do

  Match match(const Scalar& value) const;
  /// What is text on the wire: a number is read as one where numbers are listed.
  Match match_text(std::string_view text) const;
  Match match_missing() const { return optional ? Match::yes : Match::no; }

  bool operator==(const Values&) const = default;
};

/// For people: "gpt-5*|4096|<=10".
std::string describe(const Values& values);

}  // namespace agentvault::policy
