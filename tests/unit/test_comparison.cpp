// Which requests tell two sets of rules apart: compared with trying them all.
#include <random>

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

/// One rule after the other, and no index.
Effect naive(const std::vector<Rule>& all, const Facts& facts) {
  bool matched = false;
  Effect effect = Effect::deny;
  for (const auto& one : all) {
    const bool path = one.paths.empty() || std::any_of(one.paths.begin(), one.paths.end(), [&](const auto& pattern) {
                        return pattern.matches(facts.path);
                      });
    if (!path || !one.holds(facts)) continue;
    const auto found = one.effect_on(facts);
    effect = matched ? std::max(effect, found) : found;
    matched = true;
  }
  return effect;
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
  for (const char* text : {"/v1/**", "/v1/*/b", "/v1/a*", "/v1/ab/b", "/*"})
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
  CHECK(widenings(wide, narrow, "c", "h").widened.empty());
  CHECK(widenings(narrow, narrow, "c", "h").widened.empty());
  const auto found = widenings(narrow, wide, "c", "h");
  REQUIRE(found.widened.size() == 1);
  CHECK(found.complete);
  CHECK(judge(narrow, found.widened[0].example) == Effect::deny);
  CHECK(judge(wide, found.widened[0].example) == Effect::allow);
  // Asked before, allowed now.
  const auto asked = rules(rule("effect='allow'") + rule("effect='approve'\nmethods=['POST']"));
  const auto unasked = rules(rule("effect='allow'"));
  CHECK(widenings(asked, unasked, "c", "h").widened.at(0).before == Effect::approve);
  CHECK(widenings(unasked, asked, "c", "h").widened.empty());
}

TEST_CASE("values, sizes, times, documents and history are told apart") {
  const std::vector<std::pair<const char*, const char*>> narrow_and_wide{
      {"body={'/model'=['gpt-5-mini']}", "body={'/model'=['gpt-5*']}"},
      {"body={'/max'={max=10}}", "body={'/max'={max=11}}"},
      {"body={'/max'={max=10}}", "body={'/max'={max=10,optional=true}}"},
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
    const auto found = widenings(before, after, "c", "h");
    REQUIRE_FALSE(found.widened.empty());
    for (const auto& difference : found.widened) {
      CHECK(judge(before, difference.example) == difference.before);
      CHECK(judge(after, difference.example) == difference.after);
    }
    CHECK(widenings(after, before, "c", "h").widened.empty());
  }
}

TEST_CASE("claims are proved, or refuted with an example") {
  const auto policy = rules(rule("effect='allow'\npaths=['/repos/**']") +
                            rule("effect='deny'\nmethods=['DELETE']\npaths=['/repos/*/*']") +
                            rule("effect='approve'\nmethods=['PUT']"));
  CHECK(permitted(policy, claim("DELETE", "/repos/*/*"), true, "c", "h").widened.empty());
  const auto refuted = permitted(policy, claim("DELETE", "/repos/**"), true, "c", "h");
  REQUIRE_FALSE(refuted.widened.empty());
  CHECK(judge(policy, refuted.widened[0].example) == Effect::allow);
  CHECK(permitted(policy, claim("*", "/users/**"), false, "c", "h").widened.empty());
  CHECK_FALSE(permitted(policy, claim("*", "/users/**"), true, "c", "h").widened.empty());
}

TEST_CASE("what cannot be tried whole is said to be so") {
  std::string many = "effect='allow'\nbody={";
  for (int i = 0; i < 12; ++i) many += (i > 0 ? "," : "") + std::string("'/f") + std::to_string(i) + "'=['a','b','c']";
  const auto before = rules(rule(many + "}"));
  const auto found = widenings(before, before, "c", "h");
  CHECK_FALSE(found.complete);
}

TEST_CASE("random policies: a comparison finds a widening wherever trying everything finds one") {
  std::mt19937 random(42);
  const auto pick = [&](const std::vector<std::string>& list) { return list[random() % list.size()]; };
  const std::vector<std::string> patterns{"/a", "/b", "/a/*", "/a/**", "/**", "/a*", "/*/b", "/ab"};
  const std::vector<std::string> bodies{"",
                                        "",
                                        "body={'/m'=['x']}",
                                        "body={'/m'=['x*','y']}",
                                        "body={'/m'={max=2}}",
                                        "body={'/m'={min=2,optional=true}}"};
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
      for (const char* body : {"", "{}", R"({"m":"x"})", R"({"m":"xy"})", R"({"m":"y"})", R"({"m":1})", R"({"m":2})",
                               R"({"m":3})", R"({"m":null})", "no"}) {
        Example example;
        example.method = method;
        example.path = path;
        if (*body != '\0') {
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
    const auto found = widenings(before, after, "c", "h");
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
    const auto refuted = permitted(after, claim("POST", "/a/**"), true, "c", "h");
    const bool reachable = std::any_of(everything.begin(), everything.end(), [&](const Example& example) {
      return example.method == "POST" && example.path.starts_with("/a/") && judge(after, example) != Effect::deny;
    });
    if (reachable) REQUIRE_FALSE(refuted.widened.empty());
    for (const auto& difference : refuted.widened) REQUIRE(judge(after, difference.example) != Effect::deny);
  }
  CHECK(wider > 100);
}
