// Policy files, and what their rules decide: also that the fast way says what the slow one says.
#include <random>

#include "base/error.hpp"
#include "catch.hpp"
#include "policy/rule_set.hpp"
#include "policy/strict_table.hpp"
#include "policy_texts.hpp"

using namespace agentvault;
using namespace agentvault::policy;

namespace {

std::string complaint(const std::string& text) {
  try {
    parse_document(text, "p.toml");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::usage);
    CHECK_FALSE(error.hint().empty());
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("what a policy cannot mean is refused where it stands") {
  const std::string rule = "version = 1\n[[agents.a.rules]]\neffect = 'allow'\n";
  for (const std::string& lines : {
           rule + "body = { '/n' = [1234567890123456789] }",
           rule + "body = { '/n' = { max = 1234567890123456789 } }",
           rule + "body = { '/n' = { min = 5, max = 1 } }",
           rule + "body = { '/m/-' = ['x'] }",
           rule + "body = { '/m/200000000' = ['x'] }",
           rule + "headers = { Host = ['x'] }",
           rule + "headers = { authorization = ['x'] }",
           rule + "days = []",
           rule + "hours = ''",
           std::string("version = 1\n[agents.a]\negress = ['a,b']"),
       }) {
    INFO(lines);
    CHECK(complaint(lines) != "accepted");
  }
  // A list names hosts, whatever they are called.
  CHECK_FALSE(parse("[agents.a]\negress = ['open']\n").agents.front().egress->permits("x.example", 443));
  const auto listed = parse("[agents.a]\negress = ['brokered', 'a.org']\n").agents.front().egress;
  CHECK_FALSE(listed->permits("x.example", 443));
  CHECK(listed->permits("a.org", 22));
}

TEST_CASE("what is nested deeply is refused before anybody follows it") {
  std::string key = "a";
  for (int i = 0; i < 100'000; ++i) key += ".a";
  const auto refused = [](const std::string& text) {
    try {
      parse_toml(text, "p.toml", "hint");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  const std::string deep = ": it is nested too deeply";
  CHECK(refused("x = 1\n[" + key + "]\n") == "p.toml:2:1" + deep);
  CHECK(refused(key + " = 1\n") == "p.toml:1:1" + deep);
  CHECK(refused("x = " + std::string(100'000, '[')) == "p.toml:1:1" + deep);
  // Where strings and comments end.
  for (const char* before : {"x = 1 # \" \n", "x = '\\'\n", "x = \"\\\"\"\n", "x = '''a''''\n",
                             "x = \"\"\"\\\"\"\"\"\n", "x = \"\"\"\"a\"\"\"\"\"\n", "x = \"\" # ''' \n"}) {
    INFO(before);
    CHECK(refused(before + key + " = 1") == "p.toml:2:1" + deep);
  }
  CHECK(refused("x = '" + key + "'\ny = [1.5, 2.5]\nz = \"\"\"" + key + "\"\"\"") == "accepted");
}

TEST_CASE("schedules") {
  const auto office = Schedule::parse("08:00-18:00", {"mon", "fri"});
  REQUIRE(office);
  CHECK(office->holds({8 * 60, 1}));
  CHECK(office->holds({17 * 60 + 59, 5}));
  CHECK_FALSE(office->holds({18 * 60, 1}));
  CHECK_FALSE(office->holds({9 * 60, 2}));
  const auto night = Schedule::parse("22:00-06:00", {"mon"});
  REQUIRE(night);
  CHECK(night->holds({23 * 60, 1}));
  CHECK(night->holds({5 * 60, 2}));
  CHECK_FALSE(night->holds({5 * 60, 1}));
  CHECK_FALSE(night->holds({12 * 60, 1}));
  CHECK(Schedule::parse("", {"sun"})->holds({0, 0}));
  CHECK(Schedule::parse("00:00-24:00", {})->holds({1439, 3}));
  for (const char* bad : {"8:00-18:00", "08:00", "08:00-08:00", "25:00-26:00", "08:60-09:00", "24:00-01:00", "x"}) {
    CHECK_FALSE(Schedule::parse(bad, {}));
  }
  CHECK_FALSE(Schedule::parse("08:00-09:00", {"monday"}));
}

TEST_CASE("deny beats approve beats allow, and the first of equals is named") {
  const auto agent = parse(R"(
[[agents.a.rules]]
effect = "allow"
[[agents.a.rules]]
effect = "approve"
methods = ["POST"]
paths = ["/pay/**"]
[[agents.a.rules]]
effect = "deny"
paths = ["/pay/all"]
[[agents.a.rules]]
effect = "deny"
methods = ["POST"]
paths = ["/pay/*"]
hosts = ["*.example.org"]
)")
                         .agents.front();
  const RuleSet rules(agent.rules);
  const auto decide = [&](const char* method, const char* path, const char* host) {
    Facts facts;
    facts.method = method;
    facts.path = path;
    facts.host = host;
    return rules.decide(facts);
  };
  CHECK(decide("GET", "/x", "h").effect == Effect::allow);
  CHECK(decide("GET", "/pay/one", "h").effect == Effect::allow);
  CHECK(decide("POST", "/pay/one", "h").effect == Effect::approve);
  CHECK(decide("POST", "/pay/all", "h").rule == 3);
  CHECK(decide("POST", "/pay/one", "a.example.org").rule == 4);
  CHECK(decide("POST", "/pay/one", "example.org").effect == Effect::approve);
  CHECK(rules.explain(decide("POST", "/pay/all", "h")) == "policy line 9 (deny)");
}

TEST_CASE("doubt asks about what would be allowed, and about nothing that would be denied") {
  const auto set = [](const std::string& more) {
    const std::string text = "effect = 'approve'\nmethods = ['DELETE']\n";
    std::vector<Rule> all{rule_of(text)};
    if (!more.empty()) all.push_back(rule_of(more));
    return RuleSet(std::move(all));
  };
  const std::string query = "_method=1";
  Facts facts;
  facts.credential = "c";
  facts.method = "GET";
  facts.path = "/items/1";
  facts.query = &query;
  CHECK(set("").decide(facts).effect == Effect::deny);
  CHECK(set("effect = 'allow'").decide(facts).effect == Effect::approve);
  CHECK(set("effect = 'allow'\nmethods = ['GET']").decide(facts).effect == Effect::deny);
  CHECK(set("effect = 'deny'\nmethods = ['PUT']").decide(facts).effect == Effect::deny);
  // Without a credential what no rule is about is open.
  facts.credential = "";
  CHECK(set("").decide(facts).effect == Effect::approve);
  facts.query = nullptr;
  CHECK_FALSE(set("").decide(facts).rule);
  facts.credential = "c";
  facts.method = "DELETE";
  CHECK(set("").decide(facts).effect == Effect::approve);
}

TEST_CASE("approve_when turns an allow into a question") {
  const Rule rule =
      rule_of("effect = 'allow'\napprove_when = { first = ['path'], denials_per_minute = 3, hours = '22:00-06:00' }\n");
  const RuleSet rules({rule});
  CHECK(rules.asks_for_history());
  Facts facts;
  facts.method = "GET";
  facts.path = "/a";
  facts.time = {12 * 60, 1};
  const auto effect = [&] { return rules.decide(facts).effect; };
  CHECK(effect() == Effect::allow);
  facts.history.first_path = true;
  CHECK(effect() == Effect::approve);
  facts.history = {true, false, 2};
  CHECK(effect() == Effect::allow);
  facts.history.denials = 3;
  CHECK(effect() == Effect::approve);
  facts.history = {};
  facts.time.minute = 23 * 60;
  CHECK(effect() == Effect::approve);
}

TEST_CASE("which rules count: the preset's, unless the policy allows something for that credential") {
  const auto agent = parse(R"(
[[agents.a.rules]]
effect = "deny"
methods = ["DELETE"]
[[agents.a.rules]]
effect = "allow"
credential = "openai"
paths = ["/v1/responses"]
)")
                         .agents.front();
  const std::vector<Rule> preset{rule_of("effect = 'allow'\n")};
  CHECK(rules_for(&agent, "openai", preset).size() == 2);
  CHECK(rules_for(&agent, "github", preset).size() == 2);
  CHECK(rules_for(&agent, "github", preset).back().line == preset.front().line);
  CHECK(rules_for(&agent, "", {}).size() == 1);
  CHECK(rules_for(nullptr, "github", preset).size() == 1);
}

TEST_CASE("policy files are read strictly, and what is wrong is named with line and column") {
  CHECK(complaint("") == "p.toml:1:1: version is not a whole number from 0 to 9007199254740992");
  CHECK(complaint("version = 2\n").find("p.toml:1:11: ") == 0);
  CHECK(complaint("version = 1\ncolour = 'red'\n") == "p.toml:2:1: unknown key colour");
  CHECK(complaint("version = 1\n[agents.a]\nisolaton = 'off'\n") == "p.toml:3:1: unknown key isolaton");
  CHECK(complaint("version = 1\n[[agents.a.rules]]\neffect = 'allow'\n  method = ['GET']\n") ==
        "p.toml:4:3: unknown key method");
  CHECK(complaint("version = 1\nversion = 1\n").find("p.toml:2:") == 0);
  const auto in_agent = [](const std::string& lines) { return complaint("version = 1\n[agents.a]\n" + lines + "\n"); };
  for (const char* bad :
       {"isolation = 'loose'", "ttl = '5'", "ttl = 5", "egress = 'all'", "egress = ['a b']", "credentials = 'x'",
        "credentials = ['A']", "reach = ['x']", "publish = [0]", "publish = ['3000']", "budget = {}",
        "budget = { requests_per_day = -1 }", "budget = { usd_per_day = 'five' }", "budget = { usd_per_day = nan }",
        "budget = { tokens_per_day = 1.5 }", "credential_budget = { X = { requests_per_day = 1 } }",
        "approval_timeout = ''"}) {
    INFO(bad);
    CHECK(in_agent(bad).find("p.toml:3:") == 0);
  }
  const auto in_rule = [](const std::string& lines) {
    return complaint("version = 1\n[[agents.a.rules]]\n" + lines + "\n");
  };
  for (const char* bad : {"",
                          "effect = 'maybe'",
                          "effect = 'allow'\nmethods = []",
                          "effect = 'allow'\nmethods = ['G ET']",
                          "effect = 'allow'\npaths = ['x']",
                          "effect = 'allow'\npaths = ['/a/**b']",
                          "effect = 'allow'\nhosts = ['a:80']",
                          "effect = 'allow'\nbody = { model = ['x'] }",
                          "effect = 'allow'\nbody = { '/m' = [] }",
                          "effect = 'allow'\nbody = { '/m' = 'x' }",
                          "effect = 'allow'\nbody = { '/m' = {} }",
                          "effect = 'allow'\nbody = { '/m' = { max = 'x' } }",
                          "effect = 'allow'\nbody = { '/m' = { most = 1 } }",
                          "effect = 'allow'\nbody = {}",
                          "effect = 'allow'\nheaders = { 'a b' = ['x'] }",
                          "effect = 'allow'\ngraphql = ['x']",
                          "effect = 'allow'\ngraphql = []",
                          "effect = 'allow'\ngraphql = {}",
                          "effect = 'allow'\ngraphql = { fields = [] }",
                          "effect = 'allow'\ngraphql = { kinds = ['x'] }",
                          "effect = 'allow'\ngraphql = { names = ['x'] }",
                          "effect = 'allow'\ngraphql = 'query'",
                          "effect = 'allow'\nmcp = {}",
                          "effect = 'allow'\nmcp = { tools = [] }",
                          "effect = 'allow'\nmcp = { arguments = { '-' = ['a'] } }",
                          "effect = 'allow'\nmcp = { arguments = { '*' = ['a'] } }",
                          "effect = 'allow'\nmcp = { arguments = { '0' = ['a'] } }",
                          "effect = 'allow'\nmcp = { methods = ['x'], tools = ['y'] }",
                          "effect = 'allow'\nmcp = { tools = ['x'], other = 1 }",
                          "effect = 'allow'\nmcp = { tools = ['x'] }\nbody = { '/params/name' = ['y'] }",
                          "effect = 'allow'\nbody = { '/a' = { equals = 'b' } }",
                          "effect = 'allow'\nbody = { '/a' = { equals = '/b', max = 1 } }",
                          "effect = 'allow'\nbody = { '/a' = { equals = 1 } }",
                          "effect = 'allow'\nbody = { '/a/*/b' = { equals = '/b' } }",
                          "effect = 'allow'\nbody = { '/a' = { at_most = '/b/*' } }",
                          "effect = 'allow'\nquery = { 'a' = { equals = '/b' } }",
                          "effect = 'allow'\nmax_body = -1",
                          "effect = 'allow'\nhours = '9-5'",
                          "effect = 'allow'\ndays = ['someday']",
                          "effect = 'deny'\napprove_when = { first = ['path'] }",
                          "effect = 'allow'\napprove_when = {}",
                          "effect = 'allow'\napprove_when = { first = ['x'] }",
                          "effect = 'allow'\ncredential = 'A B'"}) {
    INFO(bad);
    CHECK(in_rule(bad).find("p.toml:") == 0);
  }
  CHECK(complaint("version = 1\n[[agents.a.rules]]\neffect = 'deny'\nmethods = ['delete']\n").find("DELETE") !=
        std::string::npos);
  CHECK(complaint("version = 1\n[agents.'A B']\n").find("p.toml:2:") == 0);
  CHECK(complaint(std::string(kMaxDocument + 1, '#')).find("larger than") != std::string::npos);
}

TEST_CASE("a whole policy file") {
  const auto document = parse(R"(
[agents.research]
credentials  = ["openai", "github"]
ttl          = "15m"
max_lifetime = "8h"
isolation    = "auto"
egress       = ["docs.example.org", "*.example.net"]
write        = ["~/notes"]
reach        = ["5432", "db.internal:5433"]
publish      = [3000]
approval_timeout = "5m"
[agents.research.budget]
requests_per_minute = 60
usd_per_day         = 5.00
[agents.research.credential_budget.openai]
tokens_per_day = 100000
[[agents.research.rules]]
effect     = "allow"
credential = "openai"
methods    = ["POST"]
paths      = ["/v1/chat/completions", "/v1/responses"]
body       = { "/model" = ["gpt-5-mini", "o4-*"] }
)");
  const auto* agent = document.find("research");
  REQUIRE(agent != nullptr);
  CHECK(document.find("default") == nullptr);
  CHECK(agent->grants("github"));
  CHECK_FALSE(agent->grants("stripe"));
  CHECK(agent->egress->text() == "docs.example.org,*.example.net");
  CHECK(agent->reaches.size() == 2);
  CHECK(agent->reaches[0].host == "127.0.0.1");
  CHECK(agent->budget.microusd_per_day == 5'000'000);
  CHECK(describe(agent->budget) == "60 requests a minute, 5.00 USD a day");
  CHECK(agent->credential_budgets.at("openai").tokens_per_day == 100'000);
  CHECK(describe(agent->rules.front()) ==
        "allow POST /v1/chat/completions /v1/responses credential openai body /model=gpt-5-mini|o4-*");
}

namespace {

/// The evaluator that nobody could get wrong: every rule, one after the other.
Decision naive(const std::vector<Rule>& rules, const Facts& facts) {
  Decision decision;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const auto& paths = rules[i].paths;
    const bool path =
        paths.empty() || std::any_of(paths.begin(), paths.end(), [&](const auto& p) { return p.matches(facts.path); });
    if (!path || !rules[i].holds(facts)) continue;
    const auto effect = rules[i].effect_on(facts);
    if (!decision.rule || effect > decision.effect) decision = {effect, i + 1};
  }
  return decision;
}

}  // namespace

TEST_CASE("the index decides as the naive evaluator does, on random rules and requests") {
  std::mt19937 random(20261126);
  const auto pick = [&](auto list) { return list[random() % list.size()]; };
  const std::vector<std::string> pieces{"a", "b", "ab", "aa", "*", "a*", "*b", "a*b", "**", "*a*"};
  const std::vector<std::string> words{"a", "b", "ab", "aa", "aab", "ba", "", "abab"};
  const std::vector<std::string> methods{"GET", "POST", "*"};
  int matched = 0;
  for (int round = 0; round < 4000; ++round) {
    std::vector<Rule> rules;
    for (auto n = random() % 12; n > 0; --n) {
      Rule rule;
      rule.effect = pick(std::vector<Effect>{Effect::allow, Effect::approve, Effect::deny});
      if (random() % 3 != 0) rule.methods = {pick(methods)};
      for (auto k = random() % 3; k > 0; --k) {
        std::string text;
        for (auto depth = 1 + random() % 3; depth > 0; --depth) text += "/" + pick(pieces);
        if (auto pattern = http::PathPattern::parse(text)) rule.paths.push_back(*pattern);
      }
      if (random() % 4 == 0) rule.approve_when = ApproveWhen{false, true, std::nullopt, std::nullopt};
      rules.push_back(rule);
    }
    const RuleSet set(rules);
    for (int request = 0; request < 8; ++request) {
      std::string path;
      for (auto depth = 1 + random() % 4; depth > 0; --depth) path += "/" + pick(words);
      Facts facts;
      const std::string method = pick(std::vector<std::string>{"GET", "POST"});
      facts.method = method;
      facts.path = path;
      facts.history.first_path = random() % 2 == 0;
      const auto fast = set.decide(facts);
      const auto slow = naive(rules, facts);
      INFO(path);
      REQUIRE(fast.effect == slow.effect);
      REQUIRE(fast.rule == slow.rule);
      matched += fast.rule.has_value();
    }
  }
  CHECK(matched > 1000);
}
