#include "policy/document.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/text.hpp"
#include "http/fields.hpp"
#include "policy/strict_table.hpp"

namespace agentvault::policy {
namespace {

constexpr const char* kHint = "\"man agentvault-policy\" describes policy files";
constexpr std::uint64_t kMostBody = std::uint64_t{16} << 20;  // what is collected to be judged
constexpr double kMicrousd = 1e6;
constexpr std::uint64_t kMost = std::uint64_t{1} << 53;

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

std::map<std::string, Values> read_predicates(StrictTable& rule, const char* key, bool (*valid)(std::string_view),
                                              const char* what) {
  std::map<std::string, Values> out;
  const auto* source = rule.table(key);
  if (source == nullptr) return out;
  StrictTable table(*source, rule.file(), rule.hint());
  for (const auto& [name, node] : *source) {
    if (!valid(name.str()))
      refuse_toml(rule.file(), name.source(), "not " + std::string(what) + ": " + printable(name.str()), rule.hint());
    out[std::string(name.str())] = read_values(table, *table.node(name.str()));
  }
  if (out.empty()) rule.refuse(key, std::string(key) + " is empty");
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

/// These are ours to write: a token stands in one, the other is what `hosts` is about.
bool is_judged_header(std::string_view text) {
  return http::is_token(text) && !equal_ignoring_case(text, "authorization") && !equal_ignoring_case(text, "host");
}

bool is_form_name(std::string_view text) {
  return !text.empty();
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

Effect read_effect(StrictTable& table) {
  const auto effect = table.text("effect", true);
  if (effect == "allow") return Effect::allow;
  if (effect == "approve") return Effect::approve;
  if (effect == "deny") return Effect::deny;
  table.refuse("effect", "effect is allow, approve or deny");
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
  for (const char* key : {"credentials", "hosts", "methods", "paths"}) {
    if (table.has(key) && table.texts(key).empty()) table.refuse(key, std::string(key) + " is empty: leave it out");
  }
}

void read_contents(StrictTable& table, Rule& rule) {
  rule.query = read_predicates(table, "query", is_form_name, "a field");
  rule.headers = read_predicates(table, "headers", is_judged_header, "a header that rules can judge");
  rule.form = read_predicates(table, "form", is_form_name, "a field");
  rule.body = read_predicates(table, "body", is_pointer, "a JSON pointer such as /model");
  for (const auto& kind : table.texts("graphql")) {
    if (kind == "query") {
      rule.graphql.insert(Operation::query);
    } else if (kind == "mutation") {
      rule.graphql.insert(Operation::mutation);
    } else if (kind == "subscription") {
      rule.graphql.insert(Operation::subscription);
    } else {
      table.refuse("graphql", "graphql lists query, mutation and subscription");
    }
  }
  if (table.has("graphql") && rule.graphql.empty()) table.refuse("graphql", "graphql is empty: leave it out");
  if (table.has("max_body")) rule.max_body = table.count("max_body", 0, kMostBody);
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
  rule.effect = read_effect(table);
  read_conditions(table, rule);
  rule.approve_when = read_approve_when(table);
  if (rule.approve_when && rule.effect != Effect::allow)
    table.refuse("approve_when", "only a rule that allows has approve_when");
  table.refuse_unknown();
  return rule;
}

BudgetTerms read_budget(const toml::table& source, const StrictTable& outer) {
  StrictTable table(source, outer.file(), outer.hint());
  BudgetTerms terms;
  const auto count = [&](const char* key) -> std::optional<std::uint64_t> {
    if (!table.has(key)) return std::nullopt;
    return table.count(key, 0, kMost);
  };
  terms.requests_per_minute = count("requests_per_minute");
  terms.requests_per_day = count("requests_per_day");
  terms.tokens_per_day = count("tokens_per_day");
  if (table.has("usd_per_day")) {
    terms.microusd_per_day =
        static_cast<std::uint64_t>(std::llround(std::min(table.amount("usd_per_day"), 1e9) * kMicrousd));
  }
  if (terms.empty()) table.refuse("", "the budget is empty");
  table.refuse_unknown();
  return terms;
}

void read_budgets(StrictTable& table, AgentPolicy& agent) {
  if (const auto* all = table.table("budget")) agent.budget = read_budget(*all, table);
  const auto* each = table.table("credential_budget");
  if (each == nullptr) return;
  for (const auto& [name, node] : *each) {
    if (!valid_name(name.str()) || node.as_table() == nullptr) {
      refuse_toml(table.file(), name.source(), "write [agents.NAME.credential_budget.CREDENTIAL]", table.hint());
    }
    agent.credential_budgets[std::string(name.str())] = read_budget(*node.as_table(), table);
  }
}

std::optional<std::chrono::seconds> read_duration(StrictTable& table, const char* key) {
  const auto text = table.text(key, false);
  if (text.empty() && !table.has(key)) return std::nullopt;
  const auto duration = parse_duration(text);
  if (!duration) table.refuse(key, "not a duration: write 90s, 15m, 12h or 7d");
  return duration;
}

Egress read_egress(StrictTable& table) {
  const auto* node = table.node("egress");
  const auto text = node->value_exact<std::string>();
  if (text && *text != "open" && *text != "brokered")
    table.refuse(*node, "write \"open\", \"brokered\" or a list of hosts");
  try {
    return text ? Egress::parse(*text) : Egress::listing(table.texts("egress"));
  } catch (const Error& error) {
    table.refuse(*node, error.what());
  }
}

void read_isolation(StrictTable& table, AgentPolicy& agent) {
  agent.isolation = table.text("isolation", false);
  const std::vector<std::string> levels{"", "auto", "strict", "standard", "off"};
  if (std::find(levels.begin(), levels.end(), agent.isolation) == levels.end()) {
    table.refuse("isolation", "isolation is auto, strict, standard or off");
  }
  agent.writes = table.texts("write");
  agent.shares = table.texts("share");
  agent.keeps = table.texts("keep");
  for (const auto& text : table.texts("reach")) {
    auto reach = parse_reach(text);
    if (!reach) table.refuse("reach", "not a port: write \"5432\" or \"db.internal:5432\"");
    agent.reaches.push_back(std::move(*reach));
  }
  const auto* publish = table.node("publish");
  if (publish == nullptr) return;
  if (publish->as_array() == nullptr) table.refuse(*publish, "publish is not a list of ports");
  for (const auto& item : *publish->as_array()) {
    const auto port = item.value_exact<std::int64_t>();
    if (!port || *port < 1 || *port > 65535) table.refuse(item, "not a port");
    agent.publishes.push_back(static_cast<std::uint16_t>(*port));
  }
}

AgentPolicy read_agent(const std::string& name, const toml::table& source, const StrictTable& outer) {
  StrictTable table(source, outer.file(), outer.hint());
  AgentPolicy agent;
  agent.name = name;
  if (table.has("credentials")) {
    agent.credentials = table.texts("credentials");
    for (const auto& credential : *agent.credentials) {
      if (!valid_name(credential)) table.refuse("credentials", "not a name: " + printable(credential));
    }
  }
  agent.ttl = read_duration(table, "ttl");
  agent.max_lifetime = read_duration(table, "max_lifetime");
  agent.approval_timeout = read_duration(table, "approval_timeout");
  if (table.has("egress")) agent.egress = read_egress(table);
  read_isolation(table, agent);
  read_budgets(table, agent);
  if (const auto* rules = table.tables("rules")) {
    for (const auto& rule : *rules) agent.rules.push_back(read_rule(*rule.as_table(), table));
  }
  table.refuse_unknown();
  return agent;
}

}  // namespace

bool AgentPolicy::grants(const std::string& credential) const {
  return !credentials || std::find(credentials->begin(), credentials->end(), credential) != credentials->end();
}

const AgentPolicy* Document::find(std::string_view agent) const {
  const auto found = std::find_if(agents.begin(), agents.end(), [&](const auto& entry) { return entry.name == agent; });
  return found == agents.end() ? nullptr : &*found;
}

Document parse_document(std::string_view toml, const std::string& file) {
  if (toml.size() > kMaxDocument) {
    throw Error(ErrorKind::usage, printable(file) + " is larger than a policy may be (256 KiB)", "split it by agent");
  }
  const auto source = parse_toml(toml, file, kHint);
  StrictTable table(source, file, kHint);
  if (table.count("version", 0, kMost) != 1) table.refuse("version", "this program knows version 1");
  Document document;
  if (const auto* agents = table.table("agents")) {
    for (const auto& [name, node] : *agents) {
      if (!valid_name(name.str()) || node.as_table() == nullptr) {
        refuse_toml(file, name.source(), "write [agents.NAME] with a name of a-z 0-9 . _ -", kHint);
      }
      document.agents.push_back(read_agent(std::string(name.str()), *node.as_table(), table));
    }
  }
  table.refuse_unknown();
  return document;
}

std::vector<Rule> parse_plan(std::string_view toml, const std::string& file) {
  constexpr const char* hint = "\"man agentvault-exec\" describes plans";
  const auto source = parse_toml(toml, file, hint);
  StrictTable table(source, file, hint);
  if (table.count("version", 0, kMost) != 1) table.refuse("version", "this program knows version 1");
  std::vector<Rule> steps;
  if (const auto* listed = table.tables("steps")) {
    for (const auto& step : *listed) {
      StrictTable conditions(*step.as_table(), file, hint);
      Rule& rule = steps.emplace_back();
      read_conditions(conditions, rule);
      conditions.refuse_unknown();
    }
  }
  table.refuse_unknown();
  return steps;
}

std::optional<net::Authority> parse_reach(std::string_view text) {
  const bool only_port = parse_unsigned(text).has_value();
  auto authority = net::parse_authority(only_port ? "127.0.0.1:" + std::string(text) : std::string(text));
  if (!authority || authority->port.value_or(0) == 0) return std::nullopt;
  if (authority->host == "localhost") authority->host = "127.0.0.1";
  return authority;
}

std::vector<Rule> rules_for(const AgentPolicy* agent, std::string_view credential, const std::vector<Rule>& preset) {
  std::vector<Rule> rules;
  bool allows = false;
  if (agent != nullptr) {
    for (const auto& rule : agent->rules) {
      if (!rule.concerns(credential)) continue;
      allows = allows || rule.effect == Effect::allow;
      rules.push_back(rule);
    }
  }
  if (!allows) rules.insert(rules.end(), preset.begin(), preset.end());
  return rules;
}

std::string describe(const BudgetTerms& terms) {
  std::vector<std::string> parts;
  if (terms.requests_per_minute) parts.push_back(std::to_string(*terms.requests_per_minute) + " requests a minute");
  if (terms.requests_per_day) parts.push_back(std::to_string(*terms.requests_per_day) + " requests a day");
  if (terms.tokens_per_day) parts.push_back(std::to_string(*terms.tokens_per_day) + " model tokens a day");
  if (terms.microusd_per_day) {
    const auto cents = *terms.microusd_per_day / 10'000;
    const auto rest = std::to_string(cents % 100);
    parts.push_back(std::to_string(cents / 100) + "." + std::string(rest.size() == 1 ? "0" : "") + rest + " USD a day");
  }
  return join(parts, ", ");
}

}  // namespace agentvault::policy
