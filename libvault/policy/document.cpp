#include "policy/document.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "base/text.hpp"
#include "http/fields.hpp"
#include "policy/rule_reader.hpp"
#include "policy/strict_table.hpp"

namespace agentvault::policy {
namespace {

constexpr const char* kHint = "\"man agentvault-policy\" describes policy files";
constexpr double kMicrousd = 1e6;
constexpr std::uint64_t kMost = std::uint64_t{1} << 53;

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

PolicyTest read_test(const toml::table& source, const StrictTable& outer) {
  StrictTable table(source, outer.file(), outer.hint());
  PolicyTest test;
  test.line = source.source().begin.line;
  test.agent = table.text("agent", false);
  const auto request = table.text("request", true);
  const auto space = request.find(' ');
  test.method = request.substr(0, space);
  if (space == std::string::npos || !http::is_token(test.method)) {
    table.refuse("request", "write request = \"GET https://host/path\"");
  }
  test.url = std::string(trim(std::string_view(request).substr(space)));
  test.credential = table.text("credential", false);
  if (const auto* headers = table.table("headers")) {
    StrictTable listed(*headers, outer.file(), outer.hint());
    for (const auto& [name, node] : *headers) {
      if (!http::is_token(name.str())) listed.refuse(node, "not a header: " + printable(name.str()));
      test.headers.emplace_back(name.str(), listed.text(name.str(), true));
    }
  }
  if (table.has("body")) test.body = table.text("body", true);
  test.content_type = table.text("content_type", false);
  test.expected = read_effect(table, "expect");
  table.refuse_unknown();
  return test;
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
  if (const auto* tests = table.tables("tests")) {
    for (const auto& test : *tests) document.tests.push_back(read_test(*test.as_table(), table));
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
