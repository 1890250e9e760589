// Which requests tell two sets of rules apart: compared with trying them all.
#include <random>

#include "base/text.hpp"
#include "catch.hpp"
#include "policy/comparison.hpp"
#include "policy/document.hpp"
#include "policy/witness.hpp"

using namespace agentvault;
using namespace agentvault::policy;

namespace {

std::vector<Rule> rules(const std::string& text) {
  const auto document = parse_document("version = 1\n[agents.a]\n" + text, "p.toml");
  return document.agents.front().rules;
}

std::string rule(const std::string& lines) {
  return "[[agents.a.rules]]\n" + lines + "\n";
}

Rule claim(const char* method, const char* path) {
  Rule region;
  region.methods = {method};
  region.paths = {*http::PathPattern::parse(path)};
  return region;
}

/// One rule after the other, and no index. Doubt asks only about what would be allowed.
Effect naive(const std::vector<Rule>& all, const Facts& facts) {
  bool matched = false, doubtful = false;
  Effect effect = Effect::deny;
  for (const auto& one : all) {
    const bool path = one.paths.empty() || std::any_of(one.paths.begin(), one.paths.end(), [&](const auto& pattern) {
                        return pattern.matches(facts.path);
                      });
    const auto found = one.effect_on(facts);
    const auto match = path ? one.match(facts) : Match::no;
    doubtful = doubtful || (match == Match::unknown && one.effect == Effect::approve);
    if (match != Match::yes && (match != Match::unknown || found != Effect::deny)) continue;
    effect = matched ? std::max(effect, found) : found;
    matched = true;
  }
  return doubtful && matched && effect == Effect::allow ? Effect::approve : effect;
}

Effect judge(const std::vector<Rule>& all, const Example& example) {
  Questions questions;
  for (const auto& one : all) questions.add(one.questions());
  const auto content = example.body ? Content(example.fields, &*example.body, questions) : Content();
  Facts facts;
  facts.credential = "c";
  facts.host = "h";
  facts.method = example.method;
  facts.path = example.path;
  facts.query = example.query.empty() ? nullptr : &example.query;
  facts.fields = &example.fields;
  facts.content = &content;
  facts.body_size = example.body_size;
  facts.time = example.time;
  facts.history = example.history;
  return naive(all, facts);
}

}  // namespace

TEST_CASE("witnesses: one for every way to match, and none that does not") {
  std::vector<http::PathPattern> patterns;
  for (const char* text : {"/v1/**", "/v1/*/b", "/v1/a*", "/v1/ab/b", "/*", "/v1/**/b"})
    patterns.push_back(*http::PathPattern::parse(text));
  const auto found = path_witnesses(patterns);
  CHECK(found.complete);
  for (const auto& witness : found.all) {
    for (std::size_t i = 0; i < patterns.size(); ++i) CHECK(witness.matches[i] == patterns[i].matches(witness.text));
  }
  // "/", "/v1", "/v1/", "/v1/a", "/v1/x/b", "/v1/ab/b" and more
  CHECK(found.all.size() >= 6);
  const auto texts = text_witnesses({"gpt-*", "*-mini", "gpt-5"});
  CHECK(texts.all.size() == 5);  // none, each of the first two, both, and the third with the first
}

TEST_CASE("what a new policy permits that the old one did not") {
  const auto narrow = rules(rule("effect='allow'\nmethods=['GET']\npaths=['/a/**']"));
  const auto wide = rules(rule("effect='allow'\nmethods=['GET','POST']\npaths=['/a/**','/b']"));
  CHECK(widenings(wide, narrow, Place{"c", "h"}).widened.empty());
  CHECK(widenings(narrow, narrow, Place{"c", "h"}).widened.empty());
  const auto found = widenings(narrow, wide, Place{"c", "h"});
  REQUIRE(found.widened.size() == 1);
  CHECK(found.complete);
  CHECK(judge(narrow, found.widened[0].example) == Effect::deny);
  CHECK(judge(wide, found.widened[0].example) == Effect::allow);
  // Asked before, allowed now.
  const auto asked = rules(rule("effect='allow'") + rule("effect='approve'\nmethods=['POST']"));
  const auto unasked = rules(rule("effect='allow'"));
  CHECK(widenings(asked, unasked, Place{"c", "h"}).widened.at(0).before == Effect::approve);
  CHECK(widenings(unasked, asked, Place{"c", "h"}).widened.empty());
}

TEST_CASE("values, sizes, times, documents and history are told apart") {
  const std::vector<std::pair<const char*, const char*>> narrow_and_wide{
      {"body={'/model'=['gpt-5-mini']}", "body={'/model'=['gpt-5*']}"},
      {"body={'/max'={max=10}}", "body={'/max'={max=11}}"},
      {"body={'/max'={max=10}}", "body={'/max'={max=10,optional=true}}"},
      {"body={'/t'=[0.1,0.2]}", "body={'/t'={min=0.1,max=0.2}}"},
      {"body={'/t'=[1e17]}", "body={'/t'={min=1e17}}"},
      {"body={'/0'=['a']}", "body={'/0'=['a','b']}"},
      {"headers={'Content-Type'=['application/json']}\nbody={'/t'=['a']}",
       "headers={'Content-Type'=['application/json']}\nbody={'/t'=['a','b']}"},
      {"graphql=['query']\nmax_body=0", "graphql=['query','mutation']\nmax_body=0"},
      {"headers={'content-type'=['application/graphql']}\ngraphql=['query']",
       "headers={'content-type'=['application/graphql']}\ngraphql=['query','mutation']"},
      {"query={n={max=9}}", "query={n={max=9.5}}"},
      {"body={'/a/b'=[true]}", "body={'/a/b'=[true,false]}"},
      {"body={'/model'=['*']}", ""},
      {"query={page={max=3}}", "query={page={max=4}}"},
      {"query={state=['open']}", "query={state=['open','closed']}"},
      {"headers={'x-a'=['1']}", "headers={'x-a'=['1','2']}"},
      {"form={to=['+49*']}", "form={to=['+*']}"},
      {"graphql=['query']", "graphql=['query','mutation']"},
      {"max_body=10", "max_body=11"},
      {"hours='08:00-18:00'", "hours='08:00-19:00'"},
      {"days=['mon']", "days=['mon','tue']"},
      {"approve_when={first=['path']}", ""},
      {"approve_when={denials_per_minute=3}", "approve_when={denials_per_minute=4}"},
      {"hosts=['x']", "hosts=['h']"},
  };
  for (const auto& [narrow, wide] : narrow_and_wide) {
    INFO(narrow << " -> " << wide);
    const auto before = rules(rule(std::string("effect='allow'\n") + narrow));
    const auto after = rules(rule(std::string("effect='allow'\n") + wide));
    const auto found = widenings(before, after, Place{"c", "h"});
    REQUIRE_FALSE(found.widened.empty());
    for (const auto& difference : found.widened) {
      CHECK(judge(before, difference.example) == difference.before);
      CHECK(judge(after, difference.example) == difference.after);
    }
    CHECK(widenings(after, before, Place{"c", "h"}).widened.empty());
  }
}

TEST_CASE("claims are proved, or refuted with an example") {
  const auto policy = rules(rule("effect='allow'\npaths=['/repos/**']") +
                            rule("effect='deny'\nmethods=['DELETE']\npaths=['/repos/*/*']") +
                            rule("effect='approve'\nmethods=['PUT']"));
  CHECK(permitted(policy, claim("DELETE", "/repos/*/*"), true, Place{"c", "h"}).widened.empty());
  const auto refuted = permitted(policy, claim("DELETE", "/repos/**"), true, Place{"c", "h"});
  REQUIRE_FALSE(refuted.widened.empty());
  CHECK(judge(policy, refuted.widened[0].example) == Effect::allow);
  CHECK(permitted(policy, claim("*", "/users/**"), false, Place{"c", "h"}).widened.empty());
  CHECK_FALSE(permitted(policy, claim("*", "/users/**"), true, Place{"c", "h"}).widened.empty());
}

TEST_CASE("what cannot be tried whole is said to be so") {
  std::string many = "effect='allow'\nbody={";
  for (int i = 0; i < 12; ++i) many += (i > 0 ? "," : "") + std::string("'/f") + std::to_string(i) + "'=['a','b','c']";
  const auto before = rules(rule(many + "}"));
  const auto found = widenings(before, before, Place{"c", "h"});
  CHECK_FALSE(found.complete);
  // Patterns that cut through numbers, or places in each other; texts without end.
  const std::string n = "effect='allow'\nquery={n=['5*']}";
  const auto cut = rules(rule(n) + rule("effect='deny'\nquery={n={max=9,optional=true}}") +
                         rule("effect='deny'\nquery={n={min=1000}}"));
  CHECK_FALSE(permitted(cut, claim("GET", "/**"), true, Place{"c", "h"}).complete);
  const auto within = rules(rule("effect='allow'\nbody={'/a'=['x'],'/a/b'=['y']}"));
  CHECK_FALSE(permitted(within, claim("POST", "/**"), true, Place{"c", "h"}).complete);
  const auto both = rules(rule("effect='allow'\nbody={'/0'=['x'],'/b'=['y']}"));
  CHECK_FALSE(permitted(both, claim("POST", "/**"), true, Place{"c", "h"}).complete);
  const auto longest = rules(rule("effect='allow'\nquery={q=['" + std::string(9000, 'a') + "']}"));
  CHECK_FALSE(permitted(longest, claim("POST", "/**"), true, Place{"c", "h"}).complete);
}

TEST_CASE("whether a field is there at all counts by itself") {
  const auto nothing = rules(rule("effect='deny'"));
  const Place place{"c", "h"};
  for (const std::string& lines :
       {rule("effect='allow'\ngraphql=['query']") + rule("effect='deny'\nquery={x=['1']}"),
        rule("effect='allow'\nmethods=['POST','GET']") + rule("effect='deny'\nquery={_method=['DELETE']}"),
        rule("effect='allow'\nmethods=['POST']\nform={a=['1']}") + rule("effect='deny'\nform={_method=['DELETE']}")}) {
    INFO(lines);
    CHECK_FALSE(widenings(nothing, rules(lines), place).widened.empty());
    CHECK_FALSE(permitted(rules(lines), claim("POST", "/**"), true, place).widened.empty());
  }
  const auto doubt = rules(rule("effect='deny'\nquery={_method={max=1,optional=true}}") + rule("effect='allow'"));
  CHECK_FALSE(permitted(doubt, claim("GET", "/**"), true, place).widened.empty());
  for (const char* condition : {"form={a=['1']}", "body={'/a'=['1']}", "body={'/a/b'=['1']}"}) {
    INFO(condition);
    const std::string allow = rule("effect='allow'\nmethods=['POST']\nmax_body=0");
    const auto before = rules(allow + rule("effect='deny'\nmethods=['POST']\n" + std::string(condition)));
    CHECK_FALSE(widenings(before, rules(allow), place).widened.empty());
  }
}

TEST_CASE("paths outside of a credential's base are none of it") {
  const Place place{"c", "h", "/base"};
  const auto all = rules(rule("effect='allow'"));
  CHECK(permitted(all, claim("GET", "/other/**"), true, place).widened.empty());
  CHECK_FALSE(permitted(all, claim("GET", "/base/**"), true, place).widened.empty());
  CHECK(permitted(all, claim("GET", "/**"), true, place).widened.at(0).example.path.starts_with("/base"));
  CHECK(widenings({}, all, place).widened.at(0).example.path == "/base");
  CHECK(widenings(rules(rule("effect='allow'\npaths=['/base','/base/**']")), all, place).widened.empty());
}

TEST_CASE("many paths that overlap come to an end") {
  std::string lines;
  for (int i = 0; i < 6; ++i) {
    const std::string n = std::to_string(i);
    lines += rule("effect='allow'\npaths=['/*" + n + "*/**']\nquery={a" + n + "=['x'],b=['" + n + "']}\nheaders={h=['" +
                  n + "']}\nbody={'/m'=['" + n + "']}");
  }
  const auto found = widenings({}, rules(lines), Place{"c", "h"});
  CHECK_FALSE(found.complete);
  CHECK_FALSE(found.widened.empty());
}

TEST_CASE("where %2F is a character, a claim holds for both readings, and a prohibition, too") {
  const Place opaque{"c", "h", "", true};
  const auto star = rules(rule("effect='allow'\npaths=['/p/*']"));
  const auto found = permitted(star, claim("POST", "/p/a/b"), true, opaque);
  REQUIRE_FALSE(found.widened.empty());
  CHECK(found.widened[0].example.path == "/p/a%2Fb");
  CHECK(permitted(star, claim("POST", "/p/a/b"), true, Place{"c", "h"}).widened.empty());
  const auto guarded = rules(rule("effect='allow'\npaths=['/p/*']") + rule("effect='deny'\npaths=['/p/*/b']"));
  const auto none = permitted(guarded, claim("POST", "/p/a/b"), true, opaque);
  CHECK((none.complete && none.widened.empty()));
  CHECK_FALSE(widenings(guarded, star, opaque).widened.empty());
}

TEST_CASE("what can be reached without a credential: hosts, ports, and what rules take away") {
  const auto reach = [](const std::string& egress, const std::string& lines = "") {
    const auto document = parse_document("version = 1\n[agents.a]\negress = " + egress + "\n" + lines, "p.toml");
    const auto& agent = document.agents.front();
    return Reach{*agent.egress, agent.rules};
  };
  const auto widened = [&](const Reach& before, const Reach& after) {
    const auto found = reach_widenings(before, after);
    CHECK(found.complete);
    return found.widened;
  };
  const std::string deny = rule("effect='deny'\nhosts=['evil.example.org']");
  const std::string deny_below = rule("effect='deny'\nhosts=['*.example.org']");
  const std::string deny_post = rule("effect='deny'\nmethods=['POST']\nhosts=['a.org']\npaths=['/x']");
  CHECK(widened(reach("'open'", deny), reach("'open'")).at(0).example.path == "evil.example.org:443");
  CHECK(widened(reach("'open'"), reach("'open'", deny)).empty());
  CHECK(widened(reach("'open'", deny_below), reach("'open'", deny)).at(0).example.path == "any.example.org:443");
  CHECK(widened(reach("['a.org:443']"), reach("['a.org']")).at(0).example.path == "a.org:80");
  CHECK(widened(reach("['a.org']"), reach("['a.org:443']")).empty());
  CHECK(widened(reach("['*.example']"), reach("'open'")).size() == 1);
  CHECK(widened(reach("'open'"), reach("['*.example']")).empty());
  // Whatever names and ports are taken already.
  CHECK(widened(reach("['any.example.net']"), reach("['*.example.net']")).size() == 1);
  CHECK(widened(reach("['any.a.org','any1.a.org','*.any2.a.org']"), reach("['*.a.org']")).size() == 1);
  CHECK(widened(reach("['a.org:443','a.org:80','a.org:22']"), reach("['a.org']")).size() == 1);
  CHECK(widened(reach("['*.invalid','*.example','*.example1']"), reach("'open'")).size() == 1);
  CHECK(
      widened(reach("'open'", deny_below), reach("'open'", rule("effect='deny'\nhosts=['any.example.org']"))).size() ==
      1);
  // What is not public is open to those that name it.
  CHECK(widened(reach("'open'"), reach("['localhost:5432']")).at(0).example.path == "localhost:5432");
  CHECK(widened(reach("'open'"), reach("['10.0.0.5']")).size() == 1);
  CHECK(widened(reach("'brokered'"), reach("['a.org']")).at(0).before == Effect::deny);
  CHECK(widened(reach("['a.org']"), reach("'brokered'", deny)).empty());
  // Of a tunnel nobody knows what is inside; a plain request can be read.
  const auto plain =
      widened(reach("['a.org']", deny_post), reach("['a.org']", rule("effect='deny'\nmethods=['POST']\npaths=['/y']")));
  REQUIRE_FALSE(plain.empty());
  CHECK(plain[0].example.method == "CONNECT");
  const auto readable =
      widened(reach("['a.org']", rule("effect='deny'\nmethods=['POST']\npaths=['/x']")), reach("['a.org']"));
  REQUIRE_FALSE(readable.empty());
  CHECK(readable[0].example.method + " " + readable[0].example.path == "POST http://a.org:443/x");
}

TEST_CASE("random policies: a comparison finds a widening wherever trying everything finds one") {
  std::mt19937 random(42);
  const auto pick = [&](const std::vector<std::string>& list) { return list[random() % list.size()]; };
  const std::vector<std::string> patterns{"/a", "/b", "/a/*", "/a/**", "/**", "/a*", "/*/b", "/ab", "/**/b"};
  const std::vector<std::string> bodies{"",
                                        "",
                                        "body={'/m'=['x']}",
                                        "body={'/m'=['x*','y']}",
                                        "body={'/m'={max=2}}",
                                        "body={'/m'={min=2,optional=true}}",
                                        "body={'/m'={min=0.1,max=0.2}}",
                                        "body={'/m'=[0.1,0.2]}",
                                        "query={q=['a*']}",
                                        "query={q={max=3,optional=true}}",
                                        "max_body=6",
                                        "headers={'content-type'=['application/json']}"};
  const std::vector<std::string> methods{"", "methods=['GET']", "methods=['POST']"};
  const std::vector<std::string> effects{"allow", "allow", "approve", "deny"};
  const auto make = [&] {
    std::string text;
    for (auto count = 1 + random() % 4; count > 0; --count) {
      text += rule("effect='" + pick(effects) + "'\npaths=['" + pick(patterns) + "']\n" + pick(methods) + "\n" +
                   pick(bodies));
    }
    return rules(text);
  };
  std::vector<Example> everything;
  for (const char* path : {"/", "/a", "/b", "/ab", "/c", "/a/b", "/a/a", "/c/b", "/a/b/c", "/a/", "/aa"}) {
    for (const char* method : {"GET", "POST", "DELETE"}) {
      for (const char* body :
           {"", "{}", R"({"m":"x"})", R"({"m":"xy"})", R"({"m":"y"})", R"({"m":1})", R"({"m":2})", R"({"m":3})",
            R"({"m":null})", R"({"m":0.15})", R"({"m":0.1})", "no", "q=ab", "q=3", "q=3.5", "q=b"}) {
        Example example;
        example.method = method;
        example.path = path;
        if (std::string_view(body).starts_with("q=")) {
          example.query = body;
        } else if (*body != '\0') {
          example.body = body;
          example.body_size = example.body->size();
          example.fields.add("Content-Type", "application/json");
        }
        everything.push_back(std::move(example));
      }
    }
  }
  int wider = 0;
  for (int round = 0; round < 300; ++round) {
    const auto before = make();
    const auto after = make();
    const auto found = widenings(before, after, Place{"c", "h"});
    CHECK(found.complete);
    for (const auto& difference : found.widened) {
      REQUIRE(judge(before, difference.example) == difference.before);
      REQUIRE(judge(after, difference.example) == difference.after);
      REQUIRE(difference.after < difference.before);
    }
    const bool really = std::any_of(everything.begin(), everything.end(), [&](const Example& example) {
      return judge(after, example) < judge(before, example);
    });
    if (really) REQUIRE_FALSE(found.widened.empty());
    wider += really;
    const auto refuted = permitted(after, claim("POST", "/a/**"), true, Place{"c", "h"});
    const bool reachable = std::any_of(everything.begin(), everything.end(), [&](const Example& example) {
      return example.method == "POST" && example.path.starts_with("/a/") && judge(after, example) != Effect::deny;
    });
    if (reachable) REQUIRE_FALSE(refuted.widened.empty());
    for (const auto& difference : refuted.widened) REQUIRE(judge(after, difference.example) != Effect::deny);
  }
  CHECK(wider > 100);
}

TEST_CASE("lists: every selection of elements that rules tell apart is tried") {
  std::mt19937 random(7);
  const auto pick = [&](const std::vector<std::string>& list) { return list[random() % list.size()]; };
  const std::vector<std::string> bodies{"",
                                        "body={'/l/*/t'=['x']}",
                                        "body={'/l/*/t'=['y']}",
                                        "body={'/l/*/t'=['x','y']}",
                                        "body={'/l/*/t'=['y','z']}",
                                        "body={'/l/*/t'={values=['x'],optional=true}}"};
  const std::vector<std::string> effects{"allow", "allow", "approve", "deny"};
  const auto make = [&] {
    std::string text;
    for (auto count = 1 + random() % 3; count > 0; --count)
      text += rule("effect='" + pick(effects) + "'\n" + pick(bodies));
    return rules(text);
  };
  std::vector<Example> everything;
  const std::vector<std::string> elements{R"({"t":"x"})", R"({"t":"y"})", R"({"t":"z"})",
                                          R"({"t":"w"})", R"({"t":1})",   "{}"};
  for (std::size_t selection = 0; selection < std::size_t{1} << elements.size(); ++selection) {
    std::vector<std::string> chosen;
    for (std::size_t i = 0; i < elements.size(); ++i) {
      if ((selection >> i & 1) != 0) chosen.push_back(elements[i]);
    }
    for (const std::string& body : {R"({"l":[)" + join(chosen, ",") + "]}", std::string("{}")}) {
      Example example;
      example.method = "POST";
      example.path = "/";
      example.body = body;
      example.body_size = body.size();
      example.fields.add("Content-Type", "application/json");
      everything.push_back(std::move(example));
    }
  }
  int wider = 0;
  for (int round = 0; round < 200; ++round) {
    const auto before = make();
    const auto after = make();
    const auto found = widenings(before, after, Place{"c", "h"});
    CHECK(found.complete);
    const bool really = std::any_of(everything.begin(), everything.end(), [&](const Example& example) {
      return judge(after, example) < judge(before, example);
    });
    if (really) REQUIRE_FALSE(found.widened.empty());
    for (const auto& difference : found.widened) REQUIRE(judge(after, difference.example) == difference.after);
    wider += really;
  }
  CHECK(wider > 50);
  // Where it is not everything, that is said.
  const auto complete = [&](const std::string& body) {
    const auto one = rules(rule("effect='allow'\n" + body));
    return widenings(one, one, Place{"c", "h"}).complete;
  };
  CHECK(complete("body={'/l/*/t'=['x']}"));
  CHECK_FALSE(complete("body={'/l/*/t'=['x'],'/l/*/u'=['y']}"));
  CHECK_FALSE(complete("body={'/l/*/t'=['x'],'/l/0/u'=['y']}"));
  CHECK_FALSE(complete("body={'/l/*/m/*/t'=['x']}"));
  CHECK_FALSE(complete("body={'/a'={equals='/b'}}"));
  CHECK_FALSE(complete("graphql={fields=['a']}"));
  // An example may be longer than a request has to be.
  CHECK_FALSE(complete("graphql=['query']\nmax_body=13"));
  CHECK_FALSE(complete("body={'/n'={min=100000001}}\nmax_body=10"));
  CHECK(complete("body={'/n'={min=100000001}}\nmax_body=6"));
  CHECK_FALSE(complete("form={n={min=1000.5}}\nmax_body=7"));
  CHECK(complete("body={'/*foo/*'=['a']}"));
}
