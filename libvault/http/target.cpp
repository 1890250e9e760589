#include "http/target.hpp"

#include "base/encoding.hpp"
#include "base/text.hpp"

namespace agentvault::http {
namespace {

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
std::string normalise_path(std::string_view path, std::string& out) {
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (path[i] != '%') {
      if (!is_path_character(path[i])) return "a character that may not stand in a path";
      out.push_back(path[i]);
      continue;
    }
    const auto byte = escape_at(path, i);
    if (!byte || *byte == '\0') return "a broken escape in the path";
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

std::string check_segments(std::string_view path) {
  const auto segments = split(path.substr(1), '/');
  for (std::size_t i = 0; i < segments.size(); ++i) {
    if (segments[i] == "." || segments[i] == "..") return "a dot segment in the path";
    if (segments[i].empty() && i + 1 < segments.size()) return "an empty segment in the path (\"//\")";
  }
  return {};
}

}  // namespace

std::variant<BadTarget, Target> parse_target(std::string_view text) {
  if (text.empty() || text.front() != '/') return BadTarget{"the target does not start with a slash"};
  Target target;
  const auto mark = text.find('?');
  target.has_query = mark != std::string_view::npos;
  if (auto bad = normalise_path(text.substr(0, mark), target.path); !bad.empty()) return BadTarget{bad};
  if (auto bad = check_segments(target.path); !bad.empty()) return BadTarget{bad};
  if (target.has_query) {
    target.query = text.substr(mark + 1);
    for (char c : target.query) {
      if (!is_query_character(c)) return BadTarget{"a character that may not stand in a query"};
    }
  }
  return target;
}

}  // namespace agentvault::http
