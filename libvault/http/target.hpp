// Origin-form request targets, normalised once: what is judged is what is forwarded (RFC 3986, section 6).
#pragma once

#include <string>
#include <string_view>
#include <variant>

namespace agentvault::http {

struct Target {
  std::string path;   // starts with '/'; unreserved characters decoded, other escapes in upper case
  std::string query;  // without '?', as sent
  bool has_query = false;
  bool of_server = false;  // "OPTIONS *" (RFC 9110, section 9.3.7): judged as "/"

  std::string text() const { return of_server ? "*" : has_query ? path + "?" + query : path; }
};

struct BadTarget {
  std::string reason;
};

/// Refused because servers read them differently: dot segments, empty segments, encoded slashes, backslashes and dots,
/// ';', backslashes, fragments, broken escapes.
///
/// `opaque_slashes`: for a service to which %2F is a character of a name; it stays encoded.
std::variant<BadTarget, Target> parse_target(std::string_view text, bool opaque_slashes = false);

/// The path as a server reads it that takes %2F for a slash after all.
std::string with_slashes(std::string path);

}  // namespace agentvault::http
