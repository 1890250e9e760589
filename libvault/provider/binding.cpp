#include "provider/binding.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <variant>

#include "base/error.hpp"
#include "base/text.hpp"
#include "http/target.hpp"

namespace agentvault::provider {
namespace {

using nlohmann::json;

constexpr int kFormat = 2;

json rule_to_json(const policy::Rule& rule) {
  json paths = json::array();
  for (const auto& pattern : rule.paths) paths.push_back(pattern.text());
  return {{"effect", rule.effect == policy::Effect::allow ? "allow" : "deny"},
          {"methods", rule.methods},
          {"paths", std::move(paths)}};
}

policy::Rule rule_from_json(const json& value) {
  policy::Rule rule;
  rule.effect = value.at("effect").get<std::string>() == "allow" ? policy::Effect::allow : policy::Effect::deny;
  rule.methods = value.at("methods").get<std::vector<std::string>>();
  for (const auto& text : value.at("paths")) {
    auto pattern = http::PathPattern::parse(text.get<std::string>());
    if (!pattern) throw std::invalid_argument("path pattern");
    rule.paths.push_back(std::move(*pattern));
  }
  return rule;
}

}  // namespace

std::vector<Place> Binding::places() const {
  using Kind = Place::Kind;
  static const std::vector<Place> usual{{Kind::bearer, "", ""},
                                        {Kind::basic, "", ""},
                                        {Kind::header, "x-api-key", "{}"},
                                        {Kind::header, "x-goog-api-key", "{}"},
                                        {Kind::header, "api-key", "{}"},
                                        {Kind::header, "private-token", "{}"}};
  std::vector<Place> all = accept.empty() ? usual : accept;
  if (std::find(all.begin(), all.end(), inject.place) == all.end()) all.push_back(inject.place);
  return all;
}

bool Binding::covers(std::string_view path) const {
  return path.starts_with(base) && (path.size() == base.size() || path[base.size()] == '/');
}

std::string Binding::to_json() const {
  json rule_list = json::array();
  for (const auto& rule : rules) rule_list.push_back(rule_to_json(rule));
  json places = json::array();
  for (const auto& place : accept) places.push_back(place.text());
  // Keys come out sorted and without white space: one binding has one text.
  return json{{"format", kFormat},
              {"accept", std::move(places)},
              {"provider", provider},
              {"origin", origin.text()},
              {"base", base},
              {"inject", inject.text()},
              {"env", env},
              {"env_url", env_url},
              {"client_base", client_base},
              {"ca_pem", ca_pem},
              {"anonymous", anonymous},
              {"git", git},
              {"opaque_slashes", opaque_slashes},
              {"rules", std::move(rule_list)}}
      .dump();
}

Binding Binding::from_json(std::string_view text) {
  try {
    const json value = json::parse(text);
    if (value.at("format") != kFormat) throw std::invalid_argument("format");
    Binding binding;
    binding.provider = value.at("provider").get<std::string>();
    binding.origin = net::Origin::parse(value.at("origin").get<std::string>());
    binding.base = parse_base(value.at("base").get<std::string>());
    binding.inject = Injection::parse(value.at("inject").get<std::string>());
    for (const auto& place : value.at("accept")) binding.accept.push_back(Place::parse(place.get<std::string>()));
    binding.env = value.at("env").get<std::vector<std::string>>();
    binding.env_url = value.at("env_url").get<std::vector<std::string>>();
    binding.client_base = parse_base(value.at("client_base").get<std::string>());
    binding.ca_pem = value.at("ca_pem").get<std::string>();
    binding.anonymous = value.at("anonymous").get<bool>();
    binding.git = value.at("git").get<bool>();
    binding.opaque_slashes = value.at("opaque_slashes").get<bool>();
    for (const auto& rule : value.at("rules")) binding.rules.push_back(rule_from_json(rule));
    return binding;
  } catch (const std::exception&) {
    throw Error(ErrorKind::integrity, "a credential's binding is damaged",
                "put a copy of vault.db back that you trust");
  }
}

std::string parse_base(std::string_view text) {
  while (text.ends_with('/')) text.remove_suffix(1);
  if (text.empty()) return "";
  const auto parsed = http::parse_target(text);
  const auto* target = std::get_if<http::Target>(&parsed);
  if (target == nullptr || target->has_query) {
    throw Error(ErrorKind::usage, "not a base path: \"" + printable(text) + "\"", "write it like /v1, without a query");
  }
  return target->path;
}

}  // namespace agentvault::provider
