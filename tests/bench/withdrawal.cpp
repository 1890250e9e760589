// What asking "was this withdrawn?" costs a request.
#include <chrono>
#include <cstdio>

#include "base/crypto.hpp"
#include "base/encoding.hpp"
#include "broker/withdrawal.hpp"

int main() {
  using namespace agentvault;
  constexpr int rounds = 1'000'000;
  const std::vector<std::string> ids{hex(random_bytes(8)), hex(random_bytes(16)), hex(random_bytes(16))};
  for (const std::size_t revoked : {std::size_t{0}, std::size_t{1}, broker::Withdrawals::kMostTokens}) {
    broker::Withdrawals withdrawals;
    for (std::size_t i = 0; i < revoked; ++i) withdrawals.revoke_token(hex(random_bytes(16)));
    if (revoked > 0) withdrawals.drop_credential("another");
    int refused = 0;
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < rounds; ++i) refused += withdrawals.judge("openai", ids).has_value() ? 1 : 0;
    const auto took = std::chrono::steady_clock::now() - begin;
    std::printf("check with %5zu revoked tokens, a chain of 3: %4.0f ns\n", revoked,
                std::chrono::duration<double, std::nano>(took).count() / rounds);
    if (refused != 0) return 1;
  }
}
