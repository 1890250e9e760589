// What rules see in a request: its body, query, headers, form, GraphQL, and its method.
#include "base/text.hpp"
#include "catch.hpp"
#include "policy/rule_set.hpp"
#include "policy_texts.hpp"

using namespace agentvault;
using namespace agentvault::policy;

namespace {

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
}

TEST_CASE("GraphQL: which kinds of operations stand in a document") {
  using enum Operation;
  using Found = std::optional<std::set<Operation>>;
  const auto graphql_operations = [](std::string_view document) {
    const auto request = read_graphql(document);
    return request ? Found(request->kinds) : std::nullopt;
  };
  CHECK(graphql_operations("{ a }") == Found({query}));
  CHECK(graphql_operations("query A($x: [Int!] = [1]) @d(a: \"}\") { a(b: {c: 1}) { d } }") == Found({query}));
  CHECK(graphql_operations("mutation { a }") == Found({mutation}));
  CHECK(graphql_operations("# mutation { a }\nquery { a # }\n }") == Found({query}));
  CHECK(graphql_operations("{ a(x: \"\"\" } mutation { \\\"\"\" \"\"\") }") == Found({query}));
  CHECK(graphql_operations("query A { a } mutation B { b } fragment F on T { c }") == Found({query, mutation}));
  CHECK(graphql_operations("subscription S { a }") == Found({subscription}));
  for (const char* bad : {"",
                          "fragment F on T { a }",
                          "{ a",
                          "{ a } }",
                          "type T { a: Int }",
                          "querymutation { a }",
                          "{ a(x: \"b) }",
                          "{ \xc3\xa4 }",
                          "query",
                          "query ( {a} ) ]",
                          "{ }",
                          "{ a { b }",
                          "{ ...F }",
                          "{ .. F }",
                          "{ ... on }",
                          "{ a: }",
                          "{ ...F } fragment F on T { a } fragment F on T { b }",
                          "{ a @ }",
                          "{ 1 }",
                          "query A B { a }",
                          "{ a # \xe2\x80\xa8 b\n}",
                          "{ a # \xe2\x80\xa9 b\n}",
                          "{ a # \xc2\x85 b\n}"}) {
    INFO(bad);
    CHECK_FALSE(graphql_operations(bad));
  }
  CHECK_FALSE(graphql_operations(std::string(100'000, '{')));
}

TEST_CASE("GraphQL: names of operations, and the fields that stand first") {
  const auto fields = [](std::string_view document) {
    const auto found = read_graphql(document).value().fields;
    return join(std::vector<std::string>(found.begin(), found.end()), " ");
  };
  CHECK(fields("{ a b(x: {y: [1]}) { c } }") == "a b");
  CHECK(fields("query A { mine: viewer @include(if: true) { login } }") == "viewer");
  CHECK(fields("mutation { a } query B { b }") == "a b");
  CHECK(fields(
            "{ ...F x } fragment F on Query { a ...G b { c } } fragment G on Query { d } fragment Unused on T { e }") ==
        "a b d x");
  CHECK(fields("{ ... on Query { a { b } } ... @include(if: $x) { c } ... { d } }") == "a c d");
  CHECK(fields("{ ...F } fragment F on Query { ...F a }") == "a");
  CHECK(fields("{ on fragment: query { a } }") == "on query");
  CHECK(read_graphql("query A { a } mutation B { b } { c }").value().names == std::set<std::string>{"", "A", "B"});

  const auto one = [](const std::string& document) { return "{\"query\":\"" + document + "\"}"; };
  const std::string allow = kAllow + std::string("graphql = { kinds = ['query'], fields = ['viewer', 'repo*'] }\n");
  CHECK(json_matches(allow, one("{ viewer { login } repository { __typename } __typename }")));
  CHECK_FALSE(json_matches(allow, one("{ viewer { login } users { login } }")));
  CHECK_FALSE(json_matches(allow, one("{ repo: users { login } }")));
  CHECK_FALSE(json_matches(allow, one("{ viewer { login } ...F } fragment F on Query { users }")));
  CHECK_FALSE(json_matches(allow, one("mutation { repoDelete }")));
  const std::string deny = kDeny + std::string("graphql = { fields = ['delete*'] }\n");
  CHECK(json_matches(deny, one("mutation { x: createIssue y: deleteIssue }")));
  CHECK(json_matches(deny, one("mutation {")));
  CHECK(json_matches(deny, "[]"));
  CHECK(json_matches(deny, "1"));
  CHECK_FALSE(json_matches(deny, one("mutation { deleted: createIssue }")));
  CHECK_FALSE(json_matches(deny, one("{ repository { deleteIssue } }")));
  const std::string named = kAllow + std::string("graphql = { operations = ['Get*'] }\n");
  CHECK(json_matches(named, one("query GetUser { a } query GetTeam { b }")));
  CHECK_FALSE(json_matches(named, one("query GetUser { a } query Other { b }")));
  CHECK_FALSE(json_matches(kAllow + std::string("graphql = { operations = ['*'] }\n"), one("{ a }")));
}

TEST_CASE("elements of lists: all for what is allowed, one is enough for what is not") {
  const std::string allow = kAllow + std::string("[agents.a.rules.body]\n'/tools/*/type' = ['function', 'custom']\n");
  const std::string deny = kDeny + std::string("[agents.a.rules.body]\n'/tools/*/type' = ['web_search*']\n");
  struct Case {
    const char* body;
    bool allowed;
    bool denied;
  };
  for (const auto& one :
       std::vector<Case>{{R"({"tools":[{"type":"function"}]})", true, false},
                         {R"({"tools":[{"type":"function"},{"type":"custom"}]})", true, false},
                         {R"({"tools":[{"type":"function"},{"type":"web_search_preview"}]})", false, true},
                         {R"({"tools":[]})", true, false},
                         {R"({})", false, false},
                         {R"({"tools":[{"name":"x"}]})", false, false},
                         {R"({"tools":[{"type":"function"},{"name":"x"}]})", false, false},
                         {R"({"tools":[{"Type":"function"}]})", false, true},
                         {R"({"tools":[{"type":null}]})", false, true},
                         {R"({"tools":["function"]})", false, true},
                         {R"({"tools":{"0":{"type":"function"}}})", false, true},
                         {R"({"tools":{"*":{"type":"function"}}})", false, true},
                         {R"({"tools":"function"})", false, true},
                         {R"({"Tools":[{"type":"function"}]})", false, true}}) {
    INFO(one.body);
    CHECK(json_matches(allow, one.body) == one.allowed);
    CHECK(json_matches(deny, one.body) == one.denied);
  }
  // The one that decides stands last, and behind that nothing is looked at any more.
  for (const int more : {9'998, 9'999, 10'000}) {
    std::string many = R"({"tools":[{"type":"function"})";
    for (int i = 1; i < more; ++i) many += R"(,{"type":"function"})";
    CHECK(json_matches(allow, many + "]}"));
    CHECK(json_matches(deny, many + R"(,{"type":"web_search"}]})"));
    CHECK_FALSE(json_matches(allow, many + R"(,{"type":"web_search"}]})"));
  }

  const std::string deep = kDeny + std::string("[agents.a.rules.body]\n'/messages/*/content/*/type' = ['image']\n");
  CHECK(json_matches(deep, R"({"messages":[{"content":[]},{"content":[{"type":"text"},{"type":"image"}]}]})"));
  CHECK_FALSE(json_matches(deep, R"({"messages":[{"content":[{"type":"text"}]},{"role":"x"}]})"));
  const std::string inner = kAllow + std::string("[agents.a.rules.body]\n'/a/*/b/*' = ['good']\n");
  CHECK(json_matches(inner, R"({"a":[{"b":["good"]},{"b":[]}]})"));
  CHECK(json_matches(inner, R"({"a":[]})"));
  CHECK_FALSE(json_matches(inner, R"({"a":[{"b":["good"]},{}]})"));
  CHECK_FALSE(json_matches(inner, R"({"a":[{"b":["good"]},{"b":"good"}]})"));
  const std::string plain = kAllow + std::string("[agents.a.rules.body]\n'/stop/*' = ['a*']\n");
  CHECK(json_matches(plain, R"({"stop":["a","ab"]})"));
  CHECK_FALSE(json_matches(plain, R"({"stop":["a","b"]})"));
  const std::string optional =
      kAllow + std::string("[agents.a.rules.body]\n'/tools/*/type' = { values = ['function'], optional = true }\n");
  CHECK(json_matches(optional, R"({})"));
  CHECK(json_matches(optional, R"({"tools":[{"name":"x"}]})"));
}

TEST_CASE("two places of a body are compared") {
  const std::string same = "body = { '/from/owner' = { equals = '/to/owner' } }\n";
  const std::string less = "body = { '/amount' = { at_most = '/limit' }, '/currency' = ['EUR'] }\n";
  struct Case {
    const std::string& rule;
    const char* body;
    bool allowed;
    bool denied;
  };
  for (const auto& one : std::vector<Case>{{same, R"({"from":{"owner":"a"},"to":{"owner":"a"}})", true, true},
                                           {same, R"({"from":{"owner":"a"},"to":{"owner":"b"}})", false, false},
                                           {same, R"({"from":{"owner":1},"to":{"owner":1.0}})", true, true},
                                           {same, R"({"from":{"owner":1},"to":{"owner":"1"}})", false, true},
                                           {same, R"({"from":{"owner":null},"to":{"owner":null}})", false, true},
                                           {same, R"({"from":{"owner":"a"}})", false, false},
                                           {same, R"({"from":{"owner":"a"},"To":{"owner":"a"}})", false, true},
                                           {same, R"({"from":{"owner":"a"},"to":"a"})", false, true},
                                           {less, R"({"amount":5,"limit":5,"currency":"EUR"})", true, true},
                                           {less, R"({"amount":6,"limit":5,"currency":"EUR"})", false, false},
                                           {less, R"({"amount":"5","limit":"6","currency":"EUR"})", false, true},
                                           {less, R"({"amount":5,"limit":5,"currency":"USD"})", false, false}}) {
    INFO(one.body);
    CHECK(json_matches(kAllow + one.rule, one.body) == one.allowed);
    CHECK(json_matches(kDeny + one.rule, one.body) == one.denied);
  }
}

TEST_CASE("what nobody has asked about is not known to be missing") {
  // Whoever asks by the method does not ask for what rules about the method that it may mean look at.
  http::Fields fields;
  fields.add("Content-Type", "application/json");
  const std::string body = R"({"model":"m","force":true})";
  Questions questions;
  questions.body = true;
  questions.pointers = {"/model"};
  const Content content(fields, &body, questions);
  Values values;
  values.flags = {true};
  CHECK(content.json("/force", values) == Match::unknown);
  CHECK(content.json("/force/*", values) == Match::unknown);
  CHECK(content.json("/model", values) == Match::unknown);  // a text
  CHECK(Content().json("/force", values) == Match::no);
}

TEST_CASE("MCP: methods, tools and arguments") {
  const std::string tools = kAllow + std::string("mcp = { tools = ['read_*'], arguments = { 'a/b' = ['x*'] } }\n");
  const auto call = [](const std::string& tool, const std::string& arguments) {
    return R"({"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":")" + tool + R"(","arguments":)" +
           arguments + "}}";
  };
  CHECK(json_matches(tools, call("read_file", R"({"a/b":"xyz","c":1})")));
  CHECK_FALSE(json_matches(tools, call("read_file", R"({"a/b":"yz"})")));
  CHECK_FALSE(json_matches(tools, call("write_file", R"({"a/b":"xyz"})")));
  CHECK_FALSE(json_matches(tools, "[" + call("read_file", R"({"a/b":"xyz"})") + "]"));
  CHECK_FALSE(json_matches(tools, R"({"method":"tools/list"})"));
  const std::string methods = kAllow + std::string("mcp = { methods = ['initialize', 'notifications/*'] }\n");
  CHECK(json_matches(methods, R"({"method":"notifications/initialized"})"));
  CHECK_FALSE(json_matches(methods, R"({"method":"tools/call","params":{"name":"x"}})"));
  const std::string deny = kDeny + std::string("mcp = { tools = ['delete*'] }\n");
  CHECK(json_matches(deny, call("delete_file", "{}")));
  CHECK(json_matches(deny, "[" + call("read_file", "{}") + "]"));
  CHECK_FALSE(json_matches(deny, call("read_file", "{}")));
  CHECK(json_matches(deny, call("read_file\\u0000", "{}")));
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
