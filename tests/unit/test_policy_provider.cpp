#include <set>

#include "base/error.hpp"
#include "catch.hpp"
#include "policy/rule_set.hpp"
#include "provider/preset.hpp"

using namespace agentvault;
using namespace agentvault::policy;
using namespace agentvault::provider;

namespace {
Rule rule(Effect effect, std::vector<std::string> methods, const char* path) {
  Rule made;
  made.effect = effect;
  made.methods = std::move(methods);
  made.paths = {*http::PathPattern::parse(path)};
  return made;
}
Decision decide(const std::vector<Rule>& rules, const char* method, const char* path) {
  Facts facts;
  facts.method = method;
  facts.path = path;
  return RuleSet(rules).decide(facts);
}
const Presets& shipped() {
  static const Presets presets = Presets::load("");
  return presets;
}
bool allows(const char* preset, const char* method, const char* path) {
  return decide(shipped().get(preset).binding.rules, method, path).allowed();
}
}  // namespace

TEST_CASE("deny beats allow, and no match denies") {
  const std::vector<Rule> rules{rule(Effect::allow, {"GET"}, "/a/**"), rule(Effect::deny, {"*"}, "/a/secret")};
  CHECK(decide(rules, "GET", "/a/b").allowed());
  CHECK(decide(rules, "GET", "/a/b").rule == 1);
  CHECK_FALSE(decide(rules, "GET", "/a/secret").allowed());
  CHECK(decide(rules, "GET", "/a/secret").rule == 2);
  CHECK_FALSE(decide(rules, "POST", "/a/b").allowed());
  CHECK_FALSE(decide(rules, "POST", "/a/b").rule);
  CHECK_FALSE(decide(rules, "get", "/a/b").allowed());  // methods are case-sensitive
  CHECK_FALSE(decide({}, "GET", "/").allowed());
}

TEST_CASE("every preset loads, names its documentation and survives as a binding") {
  REQUIRE(shipped().list().size() >= 40);
  std::set<std::string> names;
  for (const auto& preset : shipped().list()) {
    INFO(preset.name);
    CHECK(names.insert(preset.name).second);
    CHECK(preset.documentation.rfind("https://", 0) == 0);
    CHECK_FALSE(preset.title.empty());
    Binding binding = preset.binding;
    if (preset.needs_url) binding.origin = net::Origin::parse("https://example.org");
    const Binding again = Binding::from_json(binding.to_json());
    CHECK(again.to_json() == binding.to_json());
    CHECK(again.rules == binding.rules);
    CHECK(again.origin == binding.origin);
  }
  CHECK_THROWS_AS(shipped().get("nobody"), Error);
  CHECK(shipped().find("nobody") == nullptr);
}

TEST_CASE("presets allow the daily work and deny minting, billing, deletion and persistence") {
  CHECK(allows("openai", "POST", "/v1/chat/completions"));
  CHECK(allows("openai", "GET", "/v1/models/gpt-5"));
  CHECK_FALSE(allows("openai", "POST", "/v1/organization/admin_api_keys"));
  CHECK_FALSE(allows("openai", "GET", "/v1/organization/costs"));
  CHECK_FALSE(allows("openai", "DELETE", "/v1/files/file-1"));
  CHECK(allows("anthropic", "POST", "/v1/messages"));
  CHECK_FALSE(allows("anthropic", "GET", "/v1/organizations/api_keys"));
  CHECK(allows("gemini", "POST", "/v1beta/models/gemini-2.5-flash:generateContent"));
  CHECK_FALSE(allows("gemini", "POST", "/v1beta/tunedModels"));
  CHECK(allows("github", "GET", "/repos/o/r/contents/README.md"));
  CHECK(allows("github", "POST", "/repos/o/r/issues"));
  for (const char* path :
       {"/repos/o/r/keys", "/repos/o/r/hooks", "/user/keys", "/repos/o/r/actions/secrets/X", "/graphql"}) {
    CHECK_FALSE(allows("github", "POST", path));
  }
  CHECK_FALSE(allows("github", "GET", "/repos/o/r/hooks"));
  CHECK_FALSE(allows("github", "DELETE", "/repos/o/r"));
}

TEST_CASE("a preset with an unknown key or a wrong type names the line") {
  const auto refused = [](const char* text) -> std::string {
    try {
      parse_preset(text, "x.toml");
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  const std::string fine =
      "name=\"x\"\ntitle=\"X\"\ndocumentation=\"https://x\"\norigin=\"https://x.org\"\n"
      "[[rules]]\neffect=\"allow\"\nmethods=[\"GET\"]\npaths=[\"/a\"]\n";
  CHECK(refused(fine.c_str()) == "accepted");
  CHECK(refused(("colour=\"red\"\n" + fine).c_str()).find("x.toml:1:1: unknown key colour") == 0);
  CHECK(refused((fine + "more=1\n").c_str()).find("x.toml:9") == 0);
  CHECK(refused("name=1\n") != "accepted");
  CHECK(refused("name=\n") != "accepted");
  CHECK(refused("name=\"x\"\ntitle=\"X\"\ndocumentation=\"d\"\n") != "accepted");  // no rules
}

TEST_CASE("injections read what they write, and refuse what would break a request") {
  for (const char* text : {"bearer", "header:x-api-key", "header:Authorization:Token token={}", "query:key",
                           "basic:user", "basic:pass", "basic:pass:x-access-token", "basic:user:secret:with:colons",
                           "path:/bot{}", "path:/v1/{}/x", "body:/api_key", "body:/auth/0/key"}) {
    CHECK(Injection::parse(text).text() == text);
  }
  for (const char* bad : {"",
                          "bear",
                          "bearer:x",
                          "header",
                          "header:",
                          "header:a b",
                          "header:Host",
                          "header:Cookie",
                          "header:X:no hole",
                          "header:X:{}{}",
                          "header:X:{}\r\n",
                          "query:",
                          "query:a b",
                          "basic",
                          "basic:both",
                          "basic:pass:a:b",
                          "token",
                          "path:bot{}",
                          "path:/bot",
                          "path:/a//{}",
                          "path:/../{}",
                          "path:/{}?x",
                          "body:",
                          "body:x"}) {
    CHECK_THROWS_AS(Injection::parse(bad), Error);
  }
}

TEST_CASE("origins are exact") {
  using net::Origin;
  CHECK(Origin::parse("https://API.example.org").text() == "https://api.example.org");
  CHECK(Origin::parse("https://h.org:443").text() == "https://h.org");
  CHECK(Origin::parse("https://h.org:8443").authority() == "h.org:8443");
  CHECK(Origin::parse("https://[::1]:8443").text() == "https://[::1]:8443");
  for (const char* bad : {"",
                          "h.org",
                          "http://h.org",
                          "ftp://h.org",
                          "https://",
                          "https://h.org/",
                          "https://h.org:0",
                          "https://h.org:65536",
                          "https://h.org:x",
                          "https://user@h.org",
                          "https://h_.org:",
                          "https://-h.org",
                          "https://h..org",
                          "https://*.org",
                          "https://0x7f000001",
                          "https://2130706433",
                          "https://127.1",
                          "https://010.0.0.1",
                          "https://[::1",
                          "https://[::1]x",
                          "https://[127.0.0.1]"}) {
    INFO(bad);
    CHECK_THROWS_AS(Origin::parse(bad), Error);
  }
}
