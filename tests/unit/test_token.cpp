#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "catch.hpp"
#include "token/token.hpp"

using namespace agentvault;
using namespace agentvault::token;

namespace {

nlohmann::json vectors() {
  return nlohmann::json::parse(std::ifstream(std::string(AGENTVAULT_SOURCE_DIR) + "/schemas/token-vectors.json"));
}

Facts facts(std::uint64_t now, const char* credential, const char* method, const char* path) {
  return {now, credential, method, path};
}

http::PathPattern pattern(const char* text) {
  return *http::PathPattern::parse(text);
}

}  // namespace

TEST_CASE("good vectors decode, verify and encode to the same text") {
  const auto all = vectors();
  const SecretBytes key = SecretBytes::copy_of(*unhex(all["session_key"].get<std::string>()));
  REQUIRE(all["good"].size() >= 5);
  for (const auto& item : all["good"]) {
    INFO(item["name"].get<std::string>());
    const auto text = item["token"].get<std::string>();
    const auto token = decode(text);
    REQUIRE(token);
    CHECK(hex(token->session) == item["session"].get<std::string>());
    CHECK(hex(token->id) == item["id"].get<std::string>());
    CHECK(std::to_string(token->generation) == item["generation"].get<std::string>());
    CHECK(token->caveats.size() == item["caveats"].get<std::size_t>());
    CHECK(verify(key, *token));
    CHECK_FALSE(verify(random_secret(32), *token));
    CHECK(encode(*token) == text);
  }
}

TEST_CASE("bad vectors are refused") {
  const auto all = vectors();
  REQUIRE(all["bad"].size() >= 20);
  for (const auto& item : all["bad"]) {
    INFO(item["name"].get<std::string>());
    CHECK_FALSE(decode(item["token"].get<std::string>()));
  }
}

TEST_CASE("no single changed character leaves a token good") {
  const SecretBytes key = random_secret(32);
  const std::string text = encode(mint(key, 1, random_bytes(8), {NotAfter{2000000000}, Credential{"openai"}}));
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (const char c : {'A', 'b', '0', '-', '_'}) {
      if (text[i] == c) continue;
      std::string changed = text;
      changed[i] = c;
      const auto token = decode(changed);
      CHECK_FALSE((token && verify(key, *token)));
    }
  }
}

TEST_CASE("attenuation needs no key, verifies, and cannot be undone") {
  const SecretBytes key = random_secret(32);
  const Token wide = mint(key, 1, random_bytes(8), {Credential{"openai"}});
  const Token narrow = attenuate(wide, {Methods{{"GET"}}, Delegation{random_bytes(16)}});
  CHECK(verify(key, narrow));
  Token cheat = narrow;
  cheat.caveats.pop_back();
  CHECK_FALSE(verify(key, cheat));
  cheat = narrow;
  cheat.caveats.erase(cheat.caveats.begin() + 1);
  CHECK_FALSE(verify(key, cheat));
  cheat = narrow;
  std::swap(cheat.caveats[0], cheat.caveats[1]);
  CHECK_FALSE(verify(key, cheat));
  CHECK_THROWS_AS(attenuate(wide, std::vector<Caveat>(64, NotAfter{1})), Error);
}

TEST_CASE("each caveat restricts, and all must hold") {
  const SecretBytes key = random_secret(32);
  const Token token = mint(key, 1, random_bytes(8),
                           {NotAfter{100}, Credential{"openai"}, Methods{{"GET", "POST"}},
                            Paths{{pattern("/v1/models"), pattern("/v1/files/**")}}});
  CHECK_FALSE(first_unmet(token, facts(100, "openai", "GET", "/v1/models")));
  CHECK(first_unmet(token, facts(101, "openai", "GET", "/v1/models")) == Unmet::expired);
  CHECK(first_unmet(token, facts(1, "github", "GET", "/v1/models")) == Unmet::other_credential);
  CHECK(first_unmet(token, facts(1, "openai", "DELETE", "/v1/models")) == Unmet::method);
  CHECK(first_unmet(token, facts(1, "openai", "GET", "/v1/other")) == Unmet::path);
  const Token contradiction = attenuate(token, {Credential{"github"}});
  CHECK(first_unmet(contradiction, facts(1, "openai", "GET", "/v1/models")));
  CHECK(first_unmet(contradiction, facts(1, "github", "GET", "/v1/models")));
}

TEST_CASE("attenuating never widens: random chains against random requests, and against a model of them") {
  std::mt19937 random(7);
  const SecretBytes key = random_secret(32);
  const char* credentials[] = {"a", "b", ""};
  const char* methods[] = {"GET", "POST", "PUT"};
  const char* paths[] = {"/x", "/x/y", "/z"};
  struct Asked {
    std::uint64_t now;
    std::string credential, method, path;
  };
  // What each link says, in the words of schemas/token.md.
  using Holds = std::function<bool(const Asked&)>;
  struct Link {
    Caveat caveat;
    Holds holds;
    std::optional<std::uint64_t> depth;
  };
  const auto any_link = [&]() -> Link {
    const auto always = [](const Asked&) { return true; };
    switch (random() % 8) {
      case 0: {
        const std::uint64_t end = random() % 4;
        return {NotAfter{end}, [=](const Asked& asked) { return asked.now <= end; }, std::nullopt};
      }
      case 1: {
        const std::string name = credentials[random() % 3];
        return {Credential{name}, [=](const Asked& asked) { return asked.credential == name; }, std::nullopt};
      }
      case 2: {
        const std::string name = methods[random() % 3];
        return {Methods{{name, "GET"}},
                [=](const Asked& asked) { return asked.method == name || asked.method == "GET"; }, std::nullopt};
      }
      case 3:
        return {Paths{{pattern("/x/**"), pattern("/z")}},
                [](const Asked& asked) { return asked.path.starts_with("/x/") || asked.path == "/z"; }, std::nullopt};
      case 4:
        return {Credentials{{"a", "b"}}, [](const Asked& asked) { return !asked.credential.empty(); }, std::nullopt};
      case 5: {
        const std::uint64_t left = random() % 3;
        return {Depth{left}, always, left};
      }
      case 6:
        return {Budget{random() % 3}, always, std::nullopt};
      default:
        return {Delegation{random_bytes(kDelegationIdSize)}, always, std::nullopt};
    }
  };
  for (int round = 0; round < 300; ++round) {
    Token token = mint(key, 1, random_bytes(8), {});
    std::vector<Link> links;
    for (int count = 0; count < 6; ++count) {
      links.push_back(any_link());
      const Token narrower = attenuate(token, {links.back().caveat});
      REQUIRE(verify(key, narrower));
      REQUIRE(decode(encode(narrower)));
      for (const auto* credential : credentials)
        for (const auto* method : methods)
          for (const auto* path : paths)
            for (std::uint64_t now = 0; now < 4; ++now) {
              const Asked asked{now, credential, method, path};
              bool modelled = true;
              for (std::size_t i = 0; i < links.size(); ++i) {
                modelled = modelled && links[i].holds(asked);
                std::uint64_t behind = 0;
                for (std::size_t k = i + 1; k < links.size(); ++k)
                  behind += std::holds_alternative<Delegation>(links[k].caveat);
                if (links[i].depth) modelled = modelled && behind <= *links[i].depth;
              }
              const bool holds = !first_unmet(narrower, facts(now, credential, method, path));
              REQUIRE(holds == modelled);
              if (holds) REQUIRE_FALSE(first_unmet(token, facts(now, credential, method, path)));
            }
      token = narrower;
    }
  }
}
