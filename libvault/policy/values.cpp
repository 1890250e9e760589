#include "policy/values.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "base/text.hpp"

namespace agentvault::policy {
namespace {

Match as_match(bool yes) {
  return yes ? Match::yes : Match::no;
}

bool asks_for_numbers(const Values& values) {
  return !values.numbers.empty() || values.least || values.most;
}

Match match_number(const Values& values, double number) {
  if (!asks_for_numbers(values) || !std::isfinite(number)) return Match::unknown;
  const auto& listed = values.numbers;
  if (std::find(listed.begin(), listed.end(), number) != listed.end()) return Match::yes;
  if (!values.least && !values.most) return Match::no;
  return as_match((!values.least || number >= *values.least) && (!values.most || number <= *values.most));
}

Match match_string(const Values& values, std::string_view text) {
  // Some readers end a text at NUL.
  if (values.texts.empty() || text.find('\0') != std::string_view::npos) return Match::unknown;
  return as_match(std::any_of(values.texts.begin(), values.texts.end(),
                              [&](const auto& pattern) { return glob_matches(pattern, text); }));
}

/// As every reader reads it: no exponent ("5e3" is 5 to some), no zero in front (octal to some), no sign but minus.
std::optional<double> plain_number(std::string_view text) {
  auto digits = text.substr(text.starts_with('-') ? 1 : 0);
  const auto whole = digits.substr(0, digits.find('.'));
  const auto rest = digits.size() > whole.size() ? digits.substr(whole.size() + 1) : std::string_view("0");
  const auto all_digits = [](std::string_view part) {
    return !part.empty() && std::all_of(part.begin(), part.end(), is_digit);
  };
  if (!all_digits(whole) || !all_digits(rest) || (whole.size() > 1 && whole.front() == '0')) return std::nullopt;
  double number = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), number);
  return end.ec == std::errc() ? std::optional(number) : std::nullopt;
}

std::string number_text(double number) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, number);
  return {text, end.ptr};
}

}  // namespace

Match Values::match(const Scalar& value) const {
  if (const auto* text = std::get_if<std::string>(&value)) return match_string(*this, *text);
  if (const auto* number = std::get_if<double>(&value)) return match_number(*this, *number);
  if (const auto* flag = std::get_if<bool>(&value)) {
    if (flags.empty()) return Match::unknown;
    return as_match(std::find(flags.begin(), flags.end(), *flag) != flags.end());
  }
  return Match::unknown;
}

Match Values::match_text(std::string_view text) const {
  if (match_string(*this, text) == Match::yes) return Match::yes;
  if (!flags.empty() && (text == "true" || text == "false")) return match(text == "true");
  if (asks_for_numbers(*this)) {
    const auto number = plain_number(text);
    return number ? match_number(*this, *number) : Match::unknown;
  }
  return texts.empty() || text.find('\0') != std::string_view::npos ? Match::unknown : Match::no;
}

std::string describe(const Values& values) {
  std::vector<std::string> parts;
  for (const auto& text : values.texts) parts.push_back(printable(text));
  for (const auto number : values.numbers) parts.push_back(number_text(number));
  for (const bool flag : values.flags) parts.emplace_back(flag ? "true" : "false");
  if (values.least) parts.push_back(">=" + number_text(*values.least));
  if (values.most) parts.push_back("<=" + number_text(*values.most));
  if (values.optional) parts.emplace_back("missing");
  return join(parts, "|");
}

}  // namespace agentvault::policy
