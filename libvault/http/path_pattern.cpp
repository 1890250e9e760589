#include "http/path_pattern.hpp"

#include <variant>

#include "base/text.hpp"
#include "http/target.hpp"

namespace agentvault::http {
namespace {

constexpr std::size_t kMaxPattern = 1024;

std::string_view take_segment(std::string_view& path) {
  const auto slash = path.find('/');
  const auto segment = path.substr(0, slash);
  path = slash == std::string_view::npos ? std::string_view() : path.substr(slash);
  return segment;
}

}  // namespace

std::optional<PathPattern> PathPattern::parse(std::string_view text) {
  if (text.size() > kMaxPattern || text.find('?') != std::string_view::npos) return std::nullopt;
  const auto normal = parse_target(text);
  const auto* target = std::get_if<Target>(&normal);
  if (target == nullptr) return std::nullopt;
  const auto deep = target->path.find("**");
  // The path starts with a slash, so "**" never stands first.
  if (deep != std::string::npos && !target->path.ends_with("/**")) return std::nullopt;
  if (deep != std::string::npos && deep + 2 != target->path.size()) return std::nullopt;
  return PathPattern(target->path);
}

bool PathPattern::matches(std::string_view path) const {
  std::string_view pattern = text_;
  while (!pattern.empty() && !path.empty()) {
    if (path.front() != '/') return false;
    pattern.remove_prefix(1);
    path.remove_prefix(1);
    if (pattern == "**") return true;
    if (!glob_matches(take_segment(pattern), take_segment(path))) return false;
  }
  return pattern.empty() && path.empty();
}

}  // namespace agentvault::http
