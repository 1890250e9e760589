// What a decision costs with 10, 1 000 and 10 000 rules, and what it costs to verify a token with 1 and 16 caveats.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "policy/rule_set.hpp"
#include "token/token.hpp"

namespace {

using namespace agentvault;

constexpr int kRounds = 9;

template <class Work>
double median_ns(int count, Work work) {
  std::vector<double> rounds;
  for (int round = 0; round < kRounds; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) work(i);
    const auto took = std::chrono::steady_clock::now() - begin;
    rounds.push_back(std::chrono::duration<double, std::nano>(took).count() / count);
  }
  std::sort(rounds.begin(), rounds.end());
  return rounds[kRounds / 2];
}

/// As a large organisation's would be: most name a repository, some hold stars, a few deny.
std::vector<policy::Rule> make_rules(int count) {
  std::vector<policy::Rule> rules;
  for (int i = 0; i < count; ++i) {
    policy::Rule rule;
    rule.effect = i % 10 == 0 ? policy::Effect::deny : i % 17 == 0 ? policy::Effect::approve : policy::Effect::allow;
    rule.methods = {i % 3 == 0 ? "POST" : "GET"};
    const std::string place = "/repos/owner" + std::to_string(i % 97) + "/project" + std::to_string(i);
    rule.paths = {*http::PathPattern::parse(i % 5 == 0 ? place + "/*/comments" : place + "/**")};
    rules.push_back(std::move(rule));
  }
  return rules;
}

void bench_decisions() {
  for (const int count : {10, 1000, 10'000}) {
    const policy::RuleSet rules(make_rules(count));
    std::vector<std::string> paths;
    for (int i = 0; i < 64; ++i) {
      const int project = i * count / 64;
      paths.push_back("/repos/owner" + std::to_string(project % 97) + "/project" + std::to_string(project) +
                      "/issues/comments");
    }
    policy::Facts facts;
    facts.method = "GET";
    facts.host = "api.example.org";
    int matched = 0;
    const double cost = median_ns(100'000, [&](int i) {
      facts.path = paths[static_cast<std::size_t>(i) % paths.size()];
      matched += rules.decide(facts).rule.has_value() ? 1 : 0;
    });
    std::printf("decision among %5d rules: %5.0f ns%s\n", count, cost, matched > 0 ? "" : " (nothing matched?)");
  }
}

void bench_tokens() {
  const SecretBytes key = random_secret(32);
  for (const std::size_t count : {std::size_t{1}, std::size_t{16}}) {
    std::vector<token::Caveat> caveats;
    for (std::size_t i = 0; i < count; ++i) caveats.emplace_back(token::Credential{"openai"});
    const auto minted = token::mint(key, 1, random_bytes(token::kIdSize), caveats);
    const auto text = encode(minted);
    int good = 0;
    const double verifying = median_ns(2000, [&](int) { good += token::verify(key, minted) ? 1 : 0; });
    const double whole = median_ns(2000, [&](int) { good += token::verify(key, *token::decode(text)) ? 1 : 0; });
    std::printf("token with %2zu caveats: verified in %6.0f ns, with decoding %6.0f ns%s\n", count, verifying, whole,
                good == 2 * kRounds * 2000 ? "" : " (not good?)");
  }
}

}  // namespace

int main() {
  bench_decisions();
  bench_tokens();
}
