// Text in small pieces, independent of the locale.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace agentvault {

constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
constexpr bool is_alphanumeric(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
constexpr char to_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}
constexpr char to_upper(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
}
std::string lower(std::string_view text);
std::string upper(std::string_view text);
/// ASCII only, as HTTP field names and host names compare.
bool equal_ignoring_case(std::string_view a, std::string_view b);
std::string_view trim(std::string_view text);
std::vector<std::string_view> split(std::string_view text, char separator);
std::string join(const std::vector<std::string>& parts, std::string_view separator);

/// Digits only, no sign, no overflow.
std::optional<std::uint64_t> parse_unsigned(std::string_view text);

/// "90s", "15m", "12h", "7d". Nothing for anything else, for zero, and past a year.
std::optional<std::chrono::seconds> parse_duration(std::string_view text);
std::string format_duration(std::chrono::seconds duration);

/// What somebody else chose, made safe for a terminal: control characters and non-ASCII bytes become \xNN, and what is
/// past `most` characters becomes an ellipsis.
std::string printable(std::string_view text, std::size_t most = 200);
/// The same for a message whose parts were made safe already: their escapes stay as they are.
std::string printable_message(std::string_view text, std::size_t most);

/// '*' in the pattern is any run of characters, also an empty one. In time proportional to the product of the lengths
/// at most: only the last star is ever revisited.
bool glob_matches(std::string_view pattern, std::string_view text);

/// Names of credentials, agents and providers: 1 to 64 of a-z 0-9 . _ -, starting with a letter or digit.
bool valid_name(std::string_view name);
/// Names of environment variables (POSIX): letters, digits and _, no leading digit.
bool valid_variable(std::string_view name);

/// RFC 3339 in UTC with milliseconds.
std::string format_time(std::chrono::system_clock::time_point time);

}  // namespace agentvault
