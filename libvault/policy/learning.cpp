#include "policy/learning.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "base/text.hpp"

namespace agentvault::policy {
namespace {

constexpr std::size_t kFewIds = 2;  // so many are listed; more become a star
constexpr std::size_t kShortestId = 8;
constexpr std::size_t kShortestMixture = 16;

/// Numbers, hexadecimal ones with and without dashes, and long mixtures. Words are never generalised: /users and /keys
/// are two things, and so are /admin2024 and /main2024.
bool looks_like_id(std::string_view segment) {
  if (segment.empty()) return false;
  const auto digits = static_cast<std::size_t>(std::count_if(segment.begin(), segment.end(), is_digit));
  if (digits == segment.size()) return true;
  const bool hexadecimal = std::all_of(segment.begin(), segment.end(), [](char c) {
    return is_digit(c) || c == '-' || (to_lower(c) >= 'a' && to_lower(c) <= 'f');
  });
  return (hexadecimal && segment.size() >= kShortestId && digits >= 2) ||
         (segment.size() >= kShortestMixture && digits >= 4);
}

std::vector<std::string> segments_of(std::string_view path) {
  std::vector<std::string> segments;
  for (const auto part : split(path.substr(1), '/')) segments.emplace_back(part);
  return segments;
}

/// The paths, with identifiers that vary replaced.
std::set<std::string> generalised(const std::set<std::string>& paths) {
  std::map<std::string, std::set<std::string>> by_shape;
  for (const auto& path : paths) {
    std::string shape;
    for (const auto& segment : segments_of(path)) shape += "/" + (looks_like_id(segment) ? std::string("*") : segment);
    by_shape[shape].insert(path);
  }
  std::set<std::string> out;
  for (const auto& [shape, same] : by_shape) {
    if (same.size() > kFewIds) {
      out.insert(shape);
    } else {
      out.insert(same.begin(), same.end());
    }
  }
  return out;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  return out + "\"";
}

std::string list(const std::vector<std::string>& texts) {
  std::vector<std::string> parts;
  for (const auto& text : texts) parts.push_back(quoted(text));
  return "[" + join(parts, ", ") + "]";
}

/// In patterns a star stands for others; methods in small letters are nobody's.
bool can_be_named(const Observed& request) {
  return request.path.find('*') == std::string::npos && request.method != "*" &&
         request.method == upper(request.method) && http::PathPattern::parse(request.path);
}

}  // namespace

Learned learn(const std::vector<Observed>& observed) {
  Learned learned;
  // Of effect, credential and method.
  std::map<std::tuple<Effect, std::string, std::string>, std::set<std::string>> paths;
  for (const auto& request : observed) {
    if (can_be_named(request)) {
      paths[{request.asked ? Effect::approve : Effect::allow, request.credential, request.method}].insert(request.path);
    } else {
      learned.left_out.push_back(request);
    }
  }
  // Methods that were used with the same paths stand in one rule.
  std::map<std::tuple<Effect, std::string, std::set<std::string>>, std::vector<std::string>> methods;
  for (const auto& [key, seen] : paths) {
    const auto& [effect, credential, method] = key;
    methods[{effect, credential, generalised(seen)}].push_back(method);
  }
  for (auto& [key, names] : methods) {
    const auto& [effect, credential, seen] = key;
    Rule rule;
    rule.effect = effect;
    rule.credentials = {credential};
    rule.methods = names;
    for (const auto& path : seen) {
      if (auto pattern = http::PathPattern::parse(path)) rule.paths.push_back(std::move(*pattern));
    }
    if (!rule.paths.empty()) learned.rules.push_back(std::move(rule));
  }
  return learned;
}

std::string write_policy(const std::string& agent, const std::vector<std::string>& credentials,
                         const std::vector<std::string>& hosts, const Learned& learned) {
  std::string out =
      "version = 1\n\n[agents." + quoted(agent) + "]\ncredentials = " + list(credentials) + "\negress      = ";
  out += hosts.empty() ? "\"brokered\"\n" : list(hosts) + "\n";
  for (const auto& request : learned.left_out) {
    out += "# left out, a rule would allow more: " + printable(request.credential) + " " + printable(request.method) +
           " " + printable(request.path) + "\n";
  }
  for (const auto& rule : learned.rules) {
    std::vector<std::string> paths;
    for (const auto& pattern : rule.paths) paths.push_back(pattern.text());
    out += "\n[[agents." + quoted(agent) + ".rules]]\neffect     = " + quoted(std::string(name_of(rule.effect))) +
           "\ncredential = " + quoted(rule.credentials.front()) + "\nmethods    = " + list(rule.methods) +
           "\npaths      = " + list(paths) + "\n";
  }
  return out;
}

}  // namespace agentvault::policy
