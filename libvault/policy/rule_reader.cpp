#include "policy/rule_reader.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/text.hpp"
#include "http/fields.hpp"
#include "net/origin.hpp"

namespace agentvault::policy {
namespace {

constexpr std::uint64_t kMostBody = std::uint64_t{16} << 20;  // what is collected to be judged

std::optional<std::string> parse_host(std::string_view text) {
  const bool below = text.starts_with("*.");
  const auto named = net::parse_authority(below ? text.substr(2) : text);
  if (!named || named->port) return std::nullopt;
  return (below ? "*." : "") + named->host;
}

/// Nothing for what is no number, is not finite, or is a whole one that a double cannot hold.
std::optional<double> number_of(const toml::node& node) {
  if (!node.is_number()) return std::nullopt;
  const auto number = node.value<double>();
  return number && std::isfinite(*number) ? number : std::nullopt;
}

void add_value(StrictTable& table, const toml::node& node, Values& values) {
  if (const auto text = node.value_exact<std::string>()) {
    values.texts.push_back(*text);
  } else if (const auto flag = node.value_exact<bool>()) {
    values.flags.push_back(*flag);
  } else if (const auto number = number_of(node)) {
    values.numbers.push_back(*number);
  } else {
    table.refuse(node, "a value is a text, a number (whole ones up to 2^53), true or false");
  }
}

void add_values(StrictTable& table, const toml::array& list, Values& values) {
  if (list.empty()) table.refuse(list, "an empty list matches nothing");
  for (const auto& item : list) add_value(table, item, values);
}

Values read_values(StrictTable& outer, const toml::node& node) {
  Values values;
  if (const auto* list = node.as_array()) {
    add_values(outer, *list, values);
    return values;
  }
  const auto* source = node.as_table();
  if (source == nullptr) outer.refuse(node, "write a list of values, or { values, min, max, optional }");
  StrictTable table(*source, outer.file(), outer.hint());
  const auto* listed = table.node("values");
  if (listed != nullptr) {
    if (listed->as_array() == nullptr) table.refuse(*listed, "values is not a list");
    add_values(table, *listed->as_array(), values);
  }
  const auto number = [&](const char* key) -> std::optional<double> {
    const auto* found = table.node(key);
    if (found == nullptr) return std::nullopt;
    const auto value = number_of(*found);
    if (!value) table.refuse(*found, std::string(key) + " is not a number (whole ones up to 2^53)");
    return value;
  };
  values.least = number("min");
  values.most = number("max");
  if (values.least && values.most && *values.least > *values.most) table.refuse("min", "min is larger than max");
  values.optional = table.flag("optional");
  if (listed == nullptr && !values.least && !values.most)
    outer.refuse(node, "it says nothing: give values, min or max");
  table.refuse_unknown();
  return values;
}

/// { equals = "/b" }, { at_most = "/b" }: see read_relations().
bool is_relation(const toml::node& node) {
  const auto* terms = node.as_table();
  return terms != nullptr && (terms->contains("equals") || terms->contains("at_most"));
}

std::map<std::string, Values> read_predicates(StrictTable& rule, const char* key, bool (*valid)(std::string_view),
                                              const char* what) {
  std::map<std::string, Values> out;
  const auto* source = rule.table(key);
  if (source == nullptr) return out;
  StrictTable table(*source, rule.file(), rule.hint());
  for (const auto& [name, node] : *source) {
    if (!valid(name.str()))
      refuse_toml(rule.file(), name.source(), "not " + std::string(what) + ": " + printable(name.str()), rule.hint());
    const auto& values = *table.node(name.str());
    if (!is_relation(values) || std::string_view(key) != "body")
      out[std::string(name.str())] = read_values(table, values);
  }
  if (source->empty()) rule.refuse(key, std::string(key) + " is empty");
  return out;
}

/// Into what a request can hold: "-" is a place behind a list's end, and lists are no longer than that.
bool is_pointer(std::string_view text) {
  constexpr std::uint64_t most_items = 1000;
  if (!text.starts_with('/')) return false;
  try {
    for (nlohmann::json::json_pointer rest{std::string(text)}; !rest.empty(); rest.pop_back()) {
      if (rest.back() == "-" || parse_unsigned(rest.back()).value_or(0) > most_items) return false;
    }
    return true;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

/// body = { "/a" = { equals = "/b" } }, or { at_most = "/b" }: taken out of what is read as values.
void read_relations(StrictTable& rule, std::vector<Relation>& out) {
  const auto* source = rule.table("body");
  if (source == nullptr) return;
  for (const auto& [name, node] : *source) {
    if (!is_relation(node)) continue;
    StrictTable table(*node.as_table(), rule.file(), rule.hint());
    for (const auto& [key, kind] :
         {std::pair("equals", Relation::Kind::equals), std::pair("at_most", Relation::Kind::at_most)}) {
      if (!table.has(key)) continue;
      const auto other = table.text(key, true);
      for (const auto place : {name.str(), std::string_view(other)}) {
        if (!is_pointer(place) || names_elements(std::string(place))) {
          table.refuse(key, "not a JSON pointer to one place: " + printable(place));
        }
      }
      out.push_back({kind, std::string(name.str()), other});
    }
    table.refuse_unknown();
  }
}

/// These are ours to write: a token stands in one, the other is what `hosts` is about.
bool is_judged_header(std::string_view text) {
  return http::is_token(text) && !equal_ignoring_case(text, "authorization") && !equal_ignoring_case(text, "host");
}

bool is_form_name(std::string_view text) {
  return !text.empty();
}

/// A member of an object to everybody who reads a pointer.
bool is_argument(std::string_view text) {
  return !text.empty() && text != "-" && text != "*" && !parse_unsigned(text);
}

std::optional<Schedule> read_schedule(StrictTable& table) {
  const auto hours = table.text("hours", false);
  const auto days = table.texts("days");
  for (const char* key : {"hours", "days"}) {
    if (table.has(key) && (*key == 'h' ? hours.empty() : days.empty()))
      table.refuse(key, std::string(key) + " is empty: leave it out");
  }
  if (hours.empty() && days.empty()) return std::nullopt;
  auto schedule = Schedule::parse(hours, days);
  if (!schedule) {
    table.refuse(table.has("hours") ? "hours" : "days", "write hours = \"08:00-18:00\", days = [\"mon\", \"tue\"]");
  }
  return schedule;
}

std::optional<ApproveWhen> read_approve_when(StrictTable& rule) {
  const auto* source = rule.table("approve_when");
  if (source == nullptr) return std::nullopt;
  StrictTable table(*source, rule.file(), rule.hint());
  ApproveWhen when;
  for (const auto& first : table.texts("first")) {
    if (first == "host") {
      when.first_host = true;
    } else if (first == "path") {
      when.first_path = true;
    } else {
      table.refuse("first", "first lists \"host\" and \"path\"");
    }
  }
  if (table.has("denials_per_minute")) {
    when.denials_per_minute = static_cast<unsigned>(table.count("denials_per_minute", 1, 1000));
  }
  when.hours = read_schedule(table);
  if (when == ApproveWhen()) rule.refuse("approve_when", "approve_when is empty");
  table.refuse_unknown();
  return when;
}

void refuse_empty(StrictTable& table, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (table.has(key) && table.texts(key).empty()) table.refuse(key, std::string(key) + " is empty: leave it out");
  }
}

void read_where(StrictTable& table, Rule& rule) {
  if (const auto one = table.text("credential", false); !one.empty()) rule.credentials.push_back(one);
  for (const auto& name : table.texts("credentials")) rule.credentials.push_back(name);
  for (const auto& name : rule.credentials) {
    if (!valid_name(name))
      table.refuse(table.has("credential") ? "credential" : "credentials", "not a name: " + printable(name));
  }
  for (const auto& text : table.texts("hosts")) {
    auto host = parse_host(text);
    if (!host) table.refuse("hosts", "not a host: " + printable(text));
    rule.hosts.push_back(std::move(*host));
  }
  rule.methods = table.texts("methods");
  for (const auto& method : rule.methods) {
    if (!http::is_token(method)) table.refuse("methods", "not a method: " + printable(method));
    // As one that denies it would look like more than it is.
    if (method != upper(method))
      table.refuse("methods", "methods are written in capitals: " + printable(upper(method)));
  }
  for (const auto& text : table.texts("paths")) {
    auto pattern = http::PathPattern::parse(text);
    if (!pattern) table.refuse("paths", "not a path pattern: " + printable(text));
    rule.paths.push_back(std::move(*pattern));
  }
  // An empty list would read as "none", and mean "all".
  refuse_empty(table, {"credentials", "hosts", "methods", "paths"});
}

void read_kinds(StrictTable& table, const char* key, std::set<Operation>& kinds) {
  for (const auto& kind : table.texts(key)) {
    if (kind == "query") {
      kinds.insert(Operation::query);
    } else if (kind == "mutation") {
      kinds.insert(Operation::mutation);
    } else if (kind == "subscription") {
      kinds.insert(Operation::subscription);
    } else {
      table.refuse(key, std::string(key) + " lists query, mutation and subscription");
    }
  }
}

/// graphql = ["query"], or { kinds, operations, fields }.
void read_graphql(StrictTable& rule, GraphqlTerms& terms) {
  if (!rule.has("graphql")) return;
  if (rule.node("graphql")->as_table() == nullptr) {
    refuse_empty(rule, {"graphql"});
    return read_kinds(rule, "graphql", terms.kinds);
  }
  StrictTable table(*rule.table("graphql"), rule.file(), rule.hint());
  refuse_empty(table, {"kinds", "operations", "fields"});
  read_kinds(table, "kinds", terms.kinds);
  terms.names = table.texts("operations");
  terms.fields = table.texts("fields");
  if (terms.empty()) rule.refuse("graphql", "it says nothing: give kinds, operations or fields");
  table.refuse_unknown();
}

/// mcp = { methods, tools, arguments }: what the Model Context Protocol has where in its JSON-RPC.
void read_mcp(StrictTable& rule, Rule& out) {
  const auto* source = rule.table("mcp");
  if (source == nullptr) return;
  constexpr const char* method = "/method";
  constexpr const char* tool = "/params/name";
  constexpr const char* arguments = "/params/arguments";
  StrictTable table(*source, rule.file(), rule.hint());
  refuse_empty(table, {"methods", "tools"});
  const auto add = [&](const std::string& pointer, Values values) {
    if (!out.body.emplace(pointer, std::move(values)).second) {
      rule.refuse("mcp", "body says something about " + pointer + " already");
    }
  };
  const auto texts = [](std::vector<std::string> listed) {
    Values values;
    values.texts = std::move(listed);
    return values;
  };
  const bool calls = table.has("tools") || table.has("arguments");
  if (calls && table.has("methods")) table.refuse("methods", "tools are called by tools/call: leave methods out");
  if (!calls && !table.has("methods")) rule.refuse("mcp", "it says nothing: give methods, tools or arguments");
  add(method, texts(calls ? std::vector<std::string>{"tools/call"} : table.texts("methods")));
  if (table.has("tools")) add(tool, texts(table.texts("tools")));
  for (auto& [name, values] :
       read_predicates(table, "arguments", is_argument, "a name of an argument that rules can judge")) {
    add((nlohmann::json::json_pointer(arguments) / name).to_string(), std::move(values));
  }
  table.refuse_unknown();
}

void read_contents(StrictTable& table, Rule& rule) {
  rule.query = read_predicates(table, "query", is_form_name, "a field");
  rule.headers = read_predicates(table, "headers", is_judged_header, "a header that rules can judge");
  rule.form = read_predicates(table, "form", is_form_name, "a field");
  read_relations(table, rule.relations);
  rule.body = read_predicates(table, "body", is_pointer, "a JSON pointer such as /model");
  read_graphql(table, rule.graphql);
  read_mcp(table, rule);
  if (table.has("max_body")) rule.max_body = table.count("max_body", 0, kMostBody);
}

}  // namespace

Effect read_effect(StrictTable& table, const char* key) {
  const auto effect = table.text(key, true);
  if (effect == "allow") return Effect::allow;
  if (effect == "approve") return Effect::approve;
  if (effect == "deny") return Effect::deny;
  table.refuse(key, std::string(key) + " is allow, approve or deny");
}

void read_conditions(StrictTable& table, Rule& rule) {
  rule.line = table.source().source().begin.line;
  read_where(table, rule);
  read_contents(table, rule);
  rule.hours = read_schedule(table);
}

Rule read_rule(const toml::table& source, const StrictTable& outer) {
  StrictTable table(source, outer.file(), outer.hint());
  Rule rule;
  rule.effect = read_effect(table, "effect");
  read_conditions(table, rule);
  rule.approve_when = read_approve_when(table);
  if (rule.approve_when && rule.effect != Effect::allow)
    table.refuse("approve_when", "only a rule that allows has approve_when");
  table.refuse_unknown();
  return rule;
}

}  // namespace agentvault::policy
