// Rules, policy files, and that the fast way to decide says what the slow one says.
#include <random>

#include "base/error.hpp"
#include "catch.hpp"
#include "policy/document.hpp"
#include "policy/rule_set.hpp"
#include "policy/strict_table.hpp"

using namespace agentvault;
using namespace agentvault::policy;

namespace {

Document parse(const std::string& rest) {
  return parse_document("version = 1\n" + rest, "p.toml");
}

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

/// One rule, as it stands under [[agents.a.rules]].
Rule rule_of(const std::string& lines) {
  return parse("[[agents.a.rules]]\n" + lines).agents.front().rules.front();
}

/// A request with a body, as the broker would lay it out.
struct Posted {
  http::Fields fields;
  std::string body;
  Content content;
  Facts facts;

  Posted(const Rule& rule, const std::string& type, std::string text) : body(std::move(text)) {
    if (!type.empty()) fields.add("Content-Type", type);
    content = Content(fields, &body, rule.questions());
    facts.method = "POST";
    facts.path = "/v1/x";
    facts.credential = "c";
    facts.host = "api.example.org";
    facts.fields = &fields;
    facts.content = &content;
    facts.body_size = body.size();
  }
};

bool json_matches(const std::string& rule_lines, const std::string& body,
                  const std::string& type = "application/json") {
  const Rule rule = rule_of(rule_lines);
  return rule.holds(Posted(rule, type, body).facts);
}

constexpr const char* kAllow = "effect = 'allow'\n";
constexpr const char* kDeny = "effect = 'deny'\n";

}  // namespace

TEST_CASE("body fields: what cannot be told fails rules that allow, and matches those that deny") {
  const std::string model = "body = { '/model' = ['gpt-5-mini', 'o4-*'] }\n";
  const auto both = [&](const std::string& body, const std::string& type = "application/json") {
    return std::pair(json_matches(kAllow + model, body, type), json_matches(kDeny + model, body, type));
  };
  const auto yes = std::pair(true, true);
  const auto no = std::pair(false, false);
  const auto untold = std::pair(false, true);
  CHECK(both(R"({"model":"gpt-5-mini"})") == yes);
  CHECK(both(R"({"model":"o4-large"})") == yes);
  CHECK(both(R"({"model":"gpt\u002d5-mini"})") == yes);
  CHECK(both(R"({"model":"gpt-5"})") == no);
  CHECK(both(R"({"other":1})") == no);
  CHECK(both(R"({"deeper":{"model":"o4-x"}})") == no);
  for (const char* body : {
           R"({"model":"gpt-5-mini","model":"gpt-5"})",  // twice
           R"({"model":"gpt-5-mini","Model":"gpt-5"})",  // some readers fold case
           R"({"Model":"gpt-5-mini"})",
           R"({"MODEL":"x"})",
           R"({"model\u0000":"x"})",
           R"({"model":1})",
           R"({"model":null})",
           R"({"model":["o4-x"]})",
           R"({"model":{"a":1}})",
           R"({"model":"gpt-5-mini"} x)",
           R"({"model":"gpt-5-mini")",
           "nonsense",
           "\xef\xbb\xbf{\"model\":\"o4-x\"}",
       }) {
    INFO(body);
    CHECK(both(body) == untold);
  }
  CHECK(both("") == no);  // as without a body
  CHECK(both(std::string("{\"model\":\"o4-x\"}\0", 17)) == untold);
  for (const char* type : {"", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"}) {
    INFO(type);
    CHECK(both(R"({"model":"gpt-5-mini"})", type) == untold);
  }
  CHECK(both(R"({"model":"gpt-5-mini"})", "Application/JSON; charset=UTF-8") == yes);
  CHECK(both(R"({"model":"gpt-5-mini"})", "application/vnd.x+json") == yes);
  // The Kelvin sign folds to k for readers that look at Unicode.
  CHECK_FALSE(json_matches(kAllow + std::string("body = { '/max_tokens' = { max = 10, optional = true } }\n"),
                           "{\"max_to\xe2\x84\xaa"
                           "ens\":5000}"));
}

TEST_CASE("what has another shape than the pointer says cannot be told") {
  const std::string deep = "body = { '/generation/max' = { max = 5, optional = true } }\n";
  for (const char* body : {R"([{"generation":{"max":9}}])", R"({"generation":[{"max":9}]})", R"({"generation":"{}"})",
                           R"({"generation":null})", "7", R"("x")"}) {
    INFO(body);
    CHECK_FALSE(json_matches(kAllow + deep, body));
    CHECK(json_matches(kDeny + deep, body));
  }
  CHECK(json_matches(kAllow + deep, R"({"generation":{"other":9}})"));
  CHECK(json_matches(kAllow + deep, R"({"other":[1]})"));
}

TEST_CASE("long keys and deep bodies cost no more than their size") {
  // Quadratic, each of these would take minutes.
  const std::string key(200'000, 'k');
  std::string values = "0";
  for (int i = 0; i < 200'000; ++i) values += ",0";
  CHECK_FALSE(json_matches(kAllow + std::string("body = { '/a/b' = ['x'] }\n"), "{\"" + key + "\":[" + values + "]}"));
  std::string many = "{";
  for (int i = 0; i < 70'000; ++i) many += "\"" + std::to_string(i) + "\":0,";
  many += "\"a\":1}";
  CHECK_FALSE(json_matches(kAllow + std::string("body = { '/a' = [1] }\n"), many));
}

TEST_CASE("a compressed body, one that was not read, and none") {
  const Rule allow = rule_of(kAllow + std::string("body = { '/model' = ['*'] }\n"));
  const Rule deny = rule_of(kDeny + std::string("body = { '/model' = ['*'] }\n"));
  Posted posted(allow, "application/json", R"({"model":"x"})");
  CHECK(allow.holds(posted.facts));
  posted.fields.add("Content-Encoding", "gzip");
  const Content compressed(posted.fields, &posted.body, allow.questions());
  posted.facts.content = &compressed;
  CHECK_FALSE(allow.holds(posted.facts));
  CHECK(deny.holds(posted.facts));
  const Content unread(posted.fields, nullptr, allow.questions());
  posted.facts.content = &unread;
  CHECK_FALSE(allow.holds(posted.facts));
  CHECK(deny.holds(posted.facts));
  const Content none;
  posted.facts.content = &none;
  CHECK_FALSE(allow.holds(posted.facts));
  CHECK_FALSE(deny.holds(posted.facts));
}

TEST_CASE("numbers, flags, and values that may be missing") {
  const std::string tokens =
      kAllow + std::string("body = { '/max_tokens' = { max = 100, min = 1, optional = true } }\n");
  CHECK(json_matches(tokens, R"({"max_tokens":100})"));
  CHECK(json_matches(tokens, R"({"max_tokens":1e2})"));
  CHECK(json_matches(tokens, "{}"));
  CHECK_FALSE(json_matches(tokens, R"({"max_tokens":101})"));
  CHECK_FALSE(json_matches(tokens, R"({"max_tokens":0})"));
  CHECK_FALSE(json_matches(tokens, R"({"max_tokens":"100"})"));
  CHECK_FALSE(json_matches(tokens, R"({"max_tokens":null})"));
  const std::string flag = kAllow + std::string("body = { '/stream' = [false], '/n' = [1, 2] }\n");
  CHECK(json_matches(flag, R"({"stream":false,"n":2})"));
  CHECK_FALSE(json_matches(flag, R"({"stream":true,"n":2})"));
  CHECK_FALSE(json_matches(flag, R"({"stream":false,"n":3})"));
  CHECK_FALSE(json_matches(flag, R"({"stream":false})"));
  CHECK(json_matches(kAllow + std::string("body = { '/a/0/b~1c' = ['x'] }\n"), R"({"a":[{"b/c":"x"}]})"));
}

TEST_CASE("query, headers and form: one value is an answer, two are none") {
  const Rule query =
      rule_of(kAllow + std::string("query = { state = ['open', 'all'], page = { max = 3, optional = true } }\n"));
  const Rule denied = rule_of(kDeny + std::string("query = { state = ['closed'] }\n"));
  Posted posted(query, "", "");
  const auto ask = [&](const Rule& rule, const std::string& text) {
    posted.facts.query = &text;
    const bool holds = rule.holds(posted.facts);
    posted.facts.query = nullptr;
    return holds;
  };
  CHECK(ask(query, "state=open"));
  CHECK(ask(query, "state=%6fpen&page=3&other=1"));
  CHECK_FALSE(ask(query, "state=open&page=4"));
  CHECK_FALSE(ask(query, "state=open&state=all"));
  CHECK_FALSE(ask(query, "state=open&State=closed"));
  CHECK_FALSE(ask(query, "state=open&state[]=closed"));
  CHECK_FALSE(ask(query, "state=open&%20state=closed"));
  CHECK(ask(denied, "+state=closed"));
  CHECK(ask(denied, "state[=closed"));
  CHECK(ask(denied, "state%00x=closed"));
  CHECK_FALSE(ask(query, "state=open;x=1"));
  CHECK_FALSE(ask(query, "state=open&%u0073tate=closed"));
  CHECK_FALSE(ask(query, "state=open&sta%te=1"));
  CHECK(ask(denied, "%u0073tate=closed"));
  CHECK_FALSE(ask(query, ""));
  CHECK(ask(denied, "state=closed"));
  CHECK(ask(denied, "state=open&state=closed"));
  CHECK_FALSE(ask(denied, "other=closed"));

  const Rule header = rule_of(kAllow + std::string("headers = { 'anthropic-beta' = ['tools-*'] }\n"));
  CHECK_FALSE(header.holds(posted.facts));
  posted.fields.add("Anthropic-Beta", "tools-1");
  CHECK(header.holds(posted.facts));
  posted.fields.add("anthropic_beta", "other");
  CHECK_FALSE(header.holds(posted.facts));

  const Rule form = rule_of(kAllow + std::string("form = { To = ['+49*'] }\n"));
  const std::string type = "application/x-www-form-urlencoded";
  CHECK(form.holds(Posted(form, type, "To=%2B4912&Body=x").facts));
  CHECK_FALSE(form.holds(Posted(form, type, "To=%2B4912&To=%2B1").facts));
  CHECK_FALSE(form.holds(Posted(form, type, "Body=x").facts));
  CHECK_FALSE(form.holds(Posted(form, "multipart/form-data; boundary=x", "To=%2B4912").facts));
}

TEST_CASE("a field that stands in query and body has two values, as far as anybody knows") {
  const Rule form = rule_of(kAllow + std::string("form = { amount = { max = 100 } }\n"));
  const Rule body = rule_of(kDeny + std::string("body = { '/private' = [false] }\n"));
  const Rule query = rule_of(kAllow + std::string("query = { amount = { max = 100 } }\n"));
  const std::string form_type = "application/x-www-form-urlencoded";
  const auto ask = [](const Rule& rule, const std::string& type, const std::string& text, const std::string& in_query) {
    Posted posted(rule, type, text);
    posted.facts.query = &in_query;
    return rule.holds(posted.facts);
  };
  CHECK(ask(form, form_type, "amount=5", "other=1"));
  for (const char* twice : {"amount=99999", "amount.x=1", "Amount=1", "amount[]=1", "x=1;amount=7"}) {
    INFO(twice);
    CHECK_FALSE(ask(form, form_type, "amount=5", twice));
  }
  CHECK_FALSE(ask(body, "application/json", R"({"private":true})", "page=2"));
  CHECK(ask(body, "application/json", R"({"private":true})", "private=false"));
  CHECK(ask(query, form_type, "other=1", "amount=5"));
  CHECK_FALSE(ask(query, form_type, "amount=99999", "amount=5"));
  CHECK(ask(query, "application/json", R"({"other":{"amount":9}})", "amount=5"));
  CHECK_FALSE(ask(query, "application/json", R"({"amount":99999})", "amount=5"));
  CHECK_FALSE(ask(query, "multipart/form-data; boundary=x", "amount=5", "amount=5"));
  for (const char* type : {"text/json", "application/x-json"}) {
    CHECK_FALSE(ask(query, type, R"({"amount":99999})", "amount=5"));
  }
  CHECK(ask(query, "application/octet-stream", "amount=99999", "amount=5"));
  CHECK(ask(query, "image/png", "", "amount=5"));
}

TEST_CASE("numbers in texts are numbers to everybody") {
  const Rule form = rule_of(kAllow + std::string("form = { amount = { max = 100, min = -1 } }\n"));
  const auto ask = [&](const std::string& text) {
    return form.holds(Posted(form, "application/x-www-form-urlencoded", "amount=" + text).facts);
  };
  for (const char* good : {"0", "100", "-1", "99.50", "0.5"}) CHECK(ask(good));
  for (const char* bad :
       {"999999e-6", "1E1", "%2B5", "010", "-01", ".5", "5.", "0x5", "1,5", "1_0", "", "-", "--1", "inf", "nan"}) {
    INFO(bad);
    CHECK_FALSE(ask(bad));
  }
}

TEST_CASE("a method is in doubt where a field names another one; what is taken away is so in any spelling") {
  const RuleSet rules(parse(R"(
[[agents.a.rules]]
effect = "allow"
methods = ["POST", "GET"]
[[agents.a.rules]]
effect = "deny"
methods = ["DELETE"]
[[agents.a.rules]]
effect = "allow"
paths = ["/any"]
)")
                          .agents.front()
                          .rules);
  const std::string form = "application/x-www-form-urlencoded";
  const auto decide = [&](const char* method, const char* path, const std::string& type, const std::string& text,
                          const std::string& query) {
    Posted posted(rules.rules().front(), type, text);
    posted.facts.method = method;
    posted.facts.path = path;
    posted.facts.query = &query;
    return rules.decide(posted.facts).effect;
  };
  CHECK(decide("POST", "/x", form, "a=1", "b=2") == Effect::allow);
  // What cannot be read as fields names no method.
  for (const char* text : {R"({"text":"hello; world"})", R"({"text":"50% off"})", "To=1&Body=hi; there", ""}) {
    INFO(text);
    CHECK(decide("POST", "/x", form, text, "") == Effect::allow);
  }
  for (const char* type :
       {"application/x-www-form-urlencoded; charset=iso-8859-1", "Application/X-WWW-Form-Urlencoded, x"}) {
    INFO(type);
    CHECK(decide("POST", "/x", type, "_method=delete", "") == Effect::deny);
    CHECK(decide("POST", "/x", type, "a=1", "") == Effect::allow);
  }
  for (const char* query : {"_method=delete&a=%zz", "_method=delete&a=1;b=2", "a=1;_method=delete"}) {
    INFO(query);
    CHECK(decide("POST", "/x", form, "a=1", query) == Effect::deny);
  }
  for (const char* field :
       {"_method=DELETE", "a=1&_METHOD=delete", "%5Fmethod=PUT", "_method[]=x", "x=1;_method=DELETE"}) {
    INFO(field);
    CHECK(decide("POST", "/x", form, field, "") == Effect::deny);
  }
  CHECK(decide("POST", "/x", form, "a=1", "_method=DELETE") == Effect::deny);
  CHECK(decide("GET", "/x", "", "", "_method=DELETE") == Effect::deny);
  CHECK(decide("POST", "/x", "application/json", R"({"_method":"DELETE"})", "") == Effect::allow);
  CHECK(decide("POST", "/any", form, "a=1", "") == Effect::allow);
  CHECK(decide("delete", "/any", "", "", "") == Effect::deny);
  CHECK(decide("Delete", "/any", "", "", "") == Effect::deny);
  CHECK(decide("post", "/x", "", "", "") == Effect::deny);
  CHECK(complaint("version = 1\n[[agents.a.rules]]\neffect = 'deny'\nmethods = ['delete']\n").find("DELETE") !=
        std::string::npos);
}

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

TEST_CASE("GraphQL: which kinds of operations stand in a document") {
  using enum Operation;
  using Found = std::optional<std::set<Operation>>;
  CHECK(graphql_operations("{ a }") == Found({query}));
  CHECK(graphql_operations("query A($x: [Int!] = [1]) @d(a: \"}\") { a(b: {c: 1}) { d } }") == Found({query}));
  CHECK(graphql_operations("mutation { a }") == Found({mutation}));
  CHECK(graphql_operations("# mutation { a }\nquery { a # }\n }") == Found({query}));
  CHECK(graphql_operations("{ a(x: \"\"\" } mutation { \\\"\"\" \"\"\") }") == Found({query}));
  CHECK(graphql_operations("query A { a } mutation B { b } fragment F on T { c }") == Found({query, mutation}));
  CHECK(graphql_operations("subscription S { a }") == Found({subscription}));
  for (const char* bad : {"", "fragment F on T { a }", "{ a", "{ a } }", "type T { a: Int }", "querymutation { a }",
                          "{ a(x: \"b) }", "{ \xc3\xa4 }", "query", "query ( {a} ) ]"}) {
    INFO(bad);
    CHECK_FALSE(graphql_operations(bad));
  }
  CHECK_FALSE(graphql_operations(std::string(100'000, '{')));
}

TEST_CASE("GraphQL in a request: batches, hashes and queries in the URL") {
  const std::string only = kAllow + std::string("graphql = ['query']\n");
  const std::string never = kDeny + std::string("graphql = ['mutation']\n");
  CHECK(json_matches(only, R"({"query":"{ a }"})"));
  CHECK(json_matches(only, R"([{"query":"{ a }"},{"query":"query X { b }"}])"));
  CHECK_FALSE(json_matches(only, R"({"query":"mutation { a }"})"));
  CHECK_FALSE(json_matches(only, R"([{"query":"{ a }"},{"query":"mutation { b }"}])"));
  CHECK_FALSE(json_matches(only, R"([{"query":"{ a }"},{"id":1}])"));
  CHECK_FALSE(json_matches(only, R"({"extensions":{"persistedQuery":{}}})"));
  CHECK_FALSE(json_matches(only, R"({"query":"{ a }","Query":"mutation { b }"})"));
  CHECK_FALSE(json_matches(only, R"({"query":1})"));
  CHECK_FALSE(json_matches(only, R"({"query":"{ a }","documentId":"sha256:x"})"));
  CHECK(json_matches(only, R"({"query":"query A { a }","operationName":"A","variables":{"query":"mutation"}})"));
  CHECK(json_matches(never, R"({"query":"query A { a } mutation B { b }","operationName":"A"})"));
  CHECK_FALSE(json_matches(never, R"({"query":"{ a }"})"));
  const Rule rule = rule_of(only);
  Posted get(rule, "", "");
  const Content none;
  get.facts.content = &none;
  std::string text = "query=%7Ba%7D";
  get.facts.query = &text;
  CHECK(rule.holds(get.facts));
  text = "query=mutation%7Ba%7D";
  CHECK_FALSE(rule.holds(get.facts));
  for (const char* other : {"extensions=x", "query=%7Ba%7D&extensions=x", "QUERY=%7Ba%7D", "documentId=x",
                            "query=%7Ba%7D&id=1", "query=%7Ba%7D&hash=1", "query=%7Ba%7D&query[]=mutation%7Ba%7D",
                            "query=%7Ba%7D&+query=mutation%7Ba%7D", "query=%7Ba%7D&query_id=1"}) {
    text = other;
    CHECK_FALSE(rule.holds(get.facts));
  }
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
  const std::vector<Rule> preset{rule_of(kAllow)};
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
                          "effect = 'allow'\npaths = ['/a/**/b']",
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
