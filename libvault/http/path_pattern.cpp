#include "http/path_pattern.hpp"

#include <variant>

#include "base/text.hpp"
#include "http/target.hpp"

namespace agentvault::http {
namespace {

constexpr std::size_t kMaxPattern = 1024;

constexpr std::string_view kDeep = "**";

/// "a" of "/a/b", of which "/b" is left. Nothing, and nothing is taken, where no slash stands in front.
std::optional<std::string_view> take_segment(std::string_view& path) {
  if (!path.starts_with('/')) return std::nullopt;
  const auto segment = path.substr(1, path.find('/', 1) - 1);
  path.remove_prefix(1 + segment.size());
  return segment;
}

std::string with_escapes(std::string_view text) {
  static constexpr char digits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      out.push_back(c);
    } else {
      out += {'%', digits[byte >> 4], digits[byte & 15]};
    }
  }
  return out;
}

}  // namespace

std::optional<PathPattern> PathPattern::parse(std::string_view text) {
  if (text.size() > kMaxPattern || text.find('?') != std::string_view::npos) return std::nullopt;
  const auto normal = parse_target(with_escapes(text));
  const auto* target = std::get_if<Target>(&normal);
  if (target == nullptr) return std::nullopt;
  for (const auto segment : split(target->path, '/')) {
    if (segment.find(kDeep) != std::string_view::npos && segment != kDeep) return std::nullopt;
  }
  return PathPattern(target->path);
}

bool PathPattern::matches(std::string_view path) const {
  std::string_view pattern = text_;
  // Behind the last "**", and what it has not taken.
  std::string_view behind;
  std::string_view untaken;
  while (!pattern.empty() || !path.empty()) {
    std::string_view rest = path;
    const auto wanted = take_segment(pattern);
    const auto given = take_segment(rest);
    if (wanted && given && *wanted == kDeep) {
      if (pattern.empty()) return true;
      behind = pattern;
      untaken = rest;
    }
    if (wanted && given && (*wanted == kDeep || glob_matches(*wanted, *given))) {
      path = rest;
      continue;
    }
    // One segment more of it, then.
    if (!take_segment(untaken)) return false;
    pattern = behind;
    path = untaken;
  }
  return true;
}

}  // namespace agentvault::http
