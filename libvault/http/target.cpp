#include "http/target.hpp"

#include "base/bytes.hpp"
#include "base/encoding.hpp"
#include "base/text.hpp"

namespace agentvault::http {
namespace {

constexpr std::string_view kEscapedSlash = "%2F";

bool is_unreserved(char c) {
  return is_alphanumeric(c) || c == '-' || c == '_' || c == '~';
}

/// Characters that stand for themselves in a path. Not ';': some servers cut segments there.
bool is_path_character(char c) {
  return is_unreserved(c) || c == '.' || c == '/' ||
         std::string_view("!$&'()*+,=:@|[]^").find(c) != std::string_view::npos;
}

bool is_query_character(char c) {
  return c > 0x20 && c < 0x7f && c != '#' && c != '"' && c != '<' && c != '>';
}

/// The byte of a %XX escape, or nothing.
std::optional<char> escape_at(std::string_view text, std::size_t at) {
  if (at + 2 >= text.size()) return std::nullopt;
  const auto byte = unhex(text.substr(at + 1, 2));
  if (!byte) return std::nullopt;
  return static_cast<char>((*byte)[0]);
}

/// Why the path is refused; otherwise appends its normal form.
std::string normalise_path(std::string_view path, bool opaque_slashes, std::string& out) {
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (path[i] != '%') {
      if (!is_path_character(path[i])) return "a character that may not stand in a path";
      out.push_back(path[i]);
      continue;
    }
    const auto byte = escape_at(path, i);
    if (!byte) return "a broken escape in the path";
    if (static_cast<unsigned char>(*byte) < 0x20 || *byte == 0x7f) return "an encoded control character in the path";
    if (*byte == '/' && opaque_slashes) {
      out += kEscapedSlash;
      i += 2;
      continue;
    }
    if (*byte == '/' || *byte == '\\' || *byte == '.' || *byte == ';' || *byte == '%') {
      return "an encoded slash, backslash, dot, semicolon or percent sign in the path";
    }
    if (is_unreserved(*byte)) {
      out.push_back(*byte);
    } else {
      out.push_back('%');
      out.push_back(to_upper(path[i + 1]));
      out.push_back(to_upper(path[i + 2]));
    }
    i += 2;
  }
  return {};
}

/// Escapes that are no UTF-8 are read as other characters by some servers: %C0%AE as a dot.
bool is_utf8(std::string_view path) {
  Bytes bytes;
  for (std::size_t i = 0; i < path.size(); ++i) {
    const auto escape = path[i] == '%' ? escape_at(path, i) : std::nullopt;
    bytes.push_back(static_cast<std::uint8_t>(escape.value_or(path[i])));
    if (escape) i += 2;
  }
  for (std::size_t i = 0; i < bytes.size();) {
    const auto lead = bytes[i];
    constexpr std::size_t never = 9;
    const std::size_t more = lead < 0x80   ? 0
                             : lead < 0xc2 ? never
                             : lead < 0xe0 ? 1
                             : lead < 0xf0 ? 2
                             : lead < 0xf5 ? 3
                                           : never;
    if (more >= bytes.size() - i) return false;
    for (std::size_t k = 1; k <= more; ++k) {
      if ((bytes[i + k] & 0xc0) != 0x80) return false;
    }
    // Overlong forms, surrogates, and what lies past U+10FFFF (RFC 3629, section 4).
    if ((lead == 0xe0 && bytes[i + 1] < 0xa0) || (lead == 0xed && bytes[i + 1] > 0x9f)) return false;
    if ((lead == 0xf0 && bytes[i + 1] < 0x90) || (lead == 0xf4 && bytes[i + 1] > 0x8f)) return false;
    i += more + 1;
  }
  return true;
}

std::string check_segments(std::string_view path) {
  const auto segments = split(path.substr(1), '/');
  for (std::size_t i = 0; i < segments.size(); ++i) {
    if (segments[i] == "." || segments[i] == "..") return "a dot segment in the path";
    if (segments[i].empty() && i + 1 < segments.size()) return "an empty segment in the path (\"//\")";
  }
  return {};
}

}  // namespace

std::string with_slashes(std::string path) {
  for (auto at = path.find(kEscapedSlash); at != std::string::npos; at = path.find(kEscapedSlash, at)) {
    path.replace(at, kEscapedSlash.size(), "/");
  }
  return path;
}

std::variant<BadTarget, Target> parse_target(std::string_view text, bool opaque_slashes) {
  if (text.empty() || text.front() != '/') return BadTarget{"the target does not start with a slash"};
  Target target;
  const auto mark = text.find('?');
  target.has_query = mark != std::string_view::npos;
  if (auto bad = normalise_path(text.substr(0, mark), opaque_slashes, target.path); !bad.empty()) return BadTarget{bad};
  if (auto bad = check_segments(target.path); !bad.empty()) return BadTarget{bad};
  if (opaque_slashes) {
    // Some servers read them as slashes after all: that reading must be sound, too.
    if (auto bad = check_segments(with_slashes(target.path)); !bad.empty()) return BadTarget{bad};
    if (target.path.ends_with(kEscapedSlash)) return BadTarget{"an encoded slash at the end of the path"};
  }
  if (!is_utf8(target.path)) return BadTarget{"an escape in the path that is no UTF-8"};
  if (target.has_query) {
    target.query = text.substr(mark + 1);
    for (char c : target.query) {
      if (!is_query_character(c)) return BadTarget{"a character that may not stand in a query"};
    }
  }
  return target;
}

}  // namespace agentvault::http
