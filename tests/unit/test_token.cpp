#include <fstream>
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

TEST_CASE("attenuating never widens: random chains against random requests") {
  std::mt19937 random(7);
  const SecretBytes key = random_secret(32);
  const char* credentials[] = {"a", "b"};
  const char* methods[] = {"GET", "POST", "PUT"};
  const char* paths[] = {"/x", "/x/y", "/z"};
  const auto any_caveat = [&]() -> Caveat {
    switch (random() % 4) {
      case 0:
        return NotAfter{random() % 4};
      case 1:
        return Credential{credentials[random() % 2]};
      case 2:
        return Methods{{methods[random() % 3], methods[random() % 3]}};
      default:
        return Paths{{pattern(random() % 2 ? "/x/**" : "/x"), pattern(paths[random() % 3])}};
    }
  };
  for (int round = 0; round < 300; ++round) {
    Token token = mint(key, 1, random_bytes(8), {});
    for (int link = 0; link < 5; ++link) {
      const Token narrower = attenuate(token, {any_caveat()});
      REQUIRE(verify(key, narrower));
      for (const auto* credential : credentials)
        for (const auto* method : methods)
          for (const auto* path : paths)
            for (std::uint64_t now = 0; now < 4; ++now) {
              const auto f = facts(now, credential, method, path);
              if (!first_unmet(narrower, f)) REQUIRE_FALSE(first_unmet(token, f));
            }
      token = narrower;
    }
  }
}
