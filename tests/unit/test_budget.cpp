// Budgets: the ledger on disk.
#include <sys/stat.h>

#include <fstream>
#include <random>

#include "base/error.hpp"
#include "budget/ledger.hpp"
#include "catch.hpp"
#include "scratch.hpp"

using namespace agentvault;
using namespace agentvault::budget;

namespace {

using Time = std::chrono::system_clock::time_point;

const SecretBytes& key() {
  static const SecretBytes fixed = SecretBytes::copy_of(as_bytes("0123456789abcdef0123456789abcdef"));
  return fixed;
}

Time at(std::int64_t seconds) {
  return std::chrono::system_clock::from_time_t(seconds);
}

policy::BudgetTerms per_day(std::uint64_t requests) {
  policy::BudgetTerms terms;
  terms.requests_per_day = requests;
  return terms;
}

bool reserved(Ledger& ledger, const policy::BudgetTerms& terms, Time now, Usage usage = {1, 0, 0}) {
  return std::holds_alternative<Reservation>(ledger.reserve({{"", terms}}, usage, now));
}

constexpr std::int64_t kNoon = 1'800'014'400;  // 2027-01-15T12:00:00Z

}  // namespace

TEST_CASE("a day's budget is used up, and is there again the next day") {
  const Scratch scratch;
  Ledger ledger(scratch / "budgets/a", "a", key().clone());
  for (int i = 0; i < 3; ++i) CHECK(reserved(ledger, per_day(3), at(kNoon)));
  const auto refused = ledger.reserve({{"", per_day(3)}}, {1, 0, 0}, at(kNoon));
  const auto* why = std::get_if<Exceeded>(&refused);
  REQUIRE(why != nullptr);
  CHECK(why->until == std::chrono::hours(12));
  CHECK(why->limit == "3 requests a day");
  CHECK_FALSE(reserved(ledger, per_day(3), at(kNoon + 11 * 3600)));
  CHECK_FALSE(reserved(ledger, per_day(3), at(kNoon - 3 * 86400)));  // a clock that was set back gives nothing
  CHECK(reserved(ledger, per_day(3), at(kNoon + 12 * 3600)));
  CHECK_FALSE(reserved(ledger, per_day(0), at(kNoon)));
}

TEST_CASE("what was counted under a clock that ran ahead counts for today, and no longer") {
  constexpr std::int64_t kDay = 86'400, kYears = 11 * 365 * kDay;
  const Scratch scratch;
  Ledger ledger(scratch / "a", "a", key().clone());
  policy::BudgetTerms terms = per_day(3);
  terms.requests_per_minute = 2;
  CHECK(reserved(ledger, terms, at(kNoon + kYears)));
  CHECK(reserved(ledger, terms, at(kNoon)));
  CHECK_FALSE(reserved(ledger, terms, at(kNoon)));  // of that minute
  CHECK(reserved(ledger, terms, at(kNoon + 60)));
  CHECK_FALSE(reserved(ledger, terms, at(kNoon + 120)));  // of that day
  CHECK(reserved(ledger, terms, at(kNoon + kDay)));
}

TEST_CASE("a budget that is looked at and reset") {
  const Scratch scratch;
  const auto file = scratch / "budgets/a";
  CHECK(Ledger::look(file).empty());
  CHECK_FALSE(Ledger::reset(file));
  Ledger ledger(file, "a", key().clone());
  CHECK(reserved(ledger, per_day(1), at(kNoon), {1, 70, 500}));
  CHECK_FALSE(reserved(ledger, per_day(1), at(kNoon)));
  const auto seen = Ledger::look(file).at("");
  CHECK((seen.day_requests == 1 && seen.day_tokens == 70 && seen.day_microusd == 500));
  CHECK(Ledger::reset(file));
  CHECK(reserved(ledger, per_day(1), at(kNoon)));
}

TEST_CASE("a minute's budget") {
  const Scratch scratch;
  Ledger ledger(scratch / "a", "a", key().clone());
  policy::BudgetTerms terms;
  terms.requests_per_minute = 2;
  CHECK(reserved(ledger, terms, at(kNoon + 30)));
  CHECK(reserved(ledger, terms, at(kNoon + 50)));
  const auto refused = ledger.reserve({{"", terms}}, {1, 0, 0}, at(kNoon + 60));
  REQUIRE(std::holds_alternative<Exceeded>(refused));
  CHECK(std::get<Exceeded>(refused).until == std::chrono::seconds(30));
  CHECK(reserved(ledger, terms, at(kNoon + 90)));
}

TEST_CASE("all scopes, or none") {
  const Scratch scratch;
  Ledger ledger(scratch / "a", "a", key().clone());
  const std::vector<Scope> both{{"", per_day(5)}, {"openai", per_day(1)}};
  CHECK(std::holds_alternative<Reservation>(ledger.reserve(both, {1, 0, 0}, at(kNoon))));
  for (int i = 0; i < 10; ++i) CHECK(std::holds_alternative<Exceeded>(ledger.reserve(both, {1, 0, 0}, at(kNoon))));
  for (int i = 0; i < 4; ++i) CHECK(reserved(ledger, per_day(5), at(kNoon)));
  CHECK_FALSE(reserved(ledger, per_day(5), at(kNoon)));
}

TEST_CASE("what was reserved is replaced by what was used") {
  const Scratch scratch;
  Ledger ledger(scratch / "a", "a", key().clone());
  policy::BudgetTerms terms;
  terms.tokens_per_day = 1000;
  const auto first = ledger.reserve({{"", terms}}, {1, 900, 0}, at(kNoon));
  CHECK_FALSE(reserved(ledger, terms, at(kNoon), {1, 200, 0}));
  ledger.settle(std::get<Reservation>(first), {1, 100, 0});
  CHECK(reserved(ledger, terms, at(kNoon), {1, 900, 0}));
  CHECK_FALSE(reserved(ledger, terms, at(kNoon), {1, 1, 0}));
  // More than was reserved counts as well; what is settled after its day is over changes nothing.
  const auto next = ledger.reserve({{"", terms}}, {1, 10, 0}, at(kNoon + 86400));
  ledger.settle(std::get<Reservation>(next), {1, 2000, 0});
  CHECK_FALSE(reserved(ledger, terms, at(kNoon + 86400), {1, 1, 0}));
  const auto alone = ledger.reserve({{"", terms}}, {1, 1001, 0}, at(kNoon + 86400));
  CHECK(std::get<Exceeded>(alone).until.count() == 0);
}

TEST_CASE("two processes' ledgers are one, and what was cut short is not half there") {
  const Scratch scratch;
  const auto file = scratch / "a";
  Ledger one(file, "a", key().clone());
  Ledger two(file, "a", key().clone());
  int passed = 0;
  for (int i = 0; i < 100; ++i) passed += reserved(i % 2 == 0 ? one : two, per_day(37), at(kNoon));
  CHECK(passed == 37);
  // The newest slot is damaged: the one before it counts.
  std::fstream damage(file, std::ios::in | std::ios::out | std::ios::binary);
  damage.seekp(37 % 2 * 65536 + 20);
  damage.put('x');
  damage.close();
  CHECK(reserved(one, per_day(37), at(kNoon)));
  CHECK_FALSE(reserved(one, per_day(37), at(kNoon)));
}

TEST_CASE("a damaged budget, one of another agent or key: nothing is allowed") {
  const Scratch scratch;
  const auto file = scratch / "a";
  Ledger ledger(file, "a", key().clone());
  CHECK(reserved(ledger, per_day(3), at(kNoon)));
  Ledger other(file, "b", key().clone());
  CHECK_THROWS_AS(reserved(other, per_day(3), at(kNoon)), Error);
  Ledger foreign(file, "a", SecretBytes::copy_of(as_bytes("another key, another key, another")));
  CHECK_THROWS_AS(reserved(foreign, per_day(3), at(kNoon)), Error);
  std::filesystem::resize_file(file, 70000);
  std::ofstream(file, std::ios::binary) << std::string(200'000, 'x');
  CHECK_THROWS_AS(reserved(ledger, per_day(3), at(kNoon)), Error);
  std::ofstream(file, std::ios::binary | std::ios::trunc) << "";
  CHECK(reserved(ledger, per_day(3), at(kNoon)));
}

TEST_CASE("a random history of reservations never passes the limit, and never loses any") {
  std::mt19937_64 random(7);
  for (int round = 0; round < 20; ++round) {
    const Scratch scratch;
    Ledger ledger(scratch / "a", "a", key().clone());
    policy::BudgetTerms terms;
    terms.microusd_per_day = 10'000;
    std::uint64_t counted = 0;
    std::vector<Reservation> open;
    for (int step = 0; step < 100; ++step) {
      if (!open.empty() && random() % 2 == 0) {
        const auto reservation = open.back();
        open.pop_back();
        const std::uint64_t actual = random() % (reservation.usage.microusd + 1);
        ledger.settle(reservation, {1, 0, actual});
        counted = counted - reservation.usage.microusd + actual;
      } else {
        const std::uint64_t wanted = 1 + random() % 3000;
        auto result = ledger.reserve({{"", terms}}, {1, 0, wanted}, at(kNoon));
        const bool fits = counted + wanted <= 10'000;
        REQUIRE(std::holds_alternative<Reservation>(result) == fits);
        if (!fits) continue;
        counted += wanted;
        open.push_back(std::get<Reservation>(result));
      }
    }
  }
}
