// What an agent has used up, on disk, shared by all its sessions (schemas/budget.md). Opened before the broker is
// confined; afterwards only its descriptor is used.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/file.hpp"
#include "base/secret_bytes.hpp"
#include "policy/budget_terms.hpp"

namespace agentvault::budget {

/// An amount of what is limited.
struct Usage {
  std::uint64_t requests = 0;
  std::uint64_t tokens = 0;
  std::uint64_t microusd = 0;
};

/// One account, and what limits it.
struct Scope {
  std::string name;  // "": the agent; else the credential
  policy::BudgetTerms terms;
};

/// Why nothing was reserved.
struct Exceeded {
  std::string limit;             // "5 requests a day"
  std::chrono::seconds until{};  // when there is some again; zero: never, this alone is more than the limit
};

/// What was reserved, to be settled once.
struct Reservation {
  std::vector<std::string> scopes;
  std::uint64_t day = 0;
  Usage usage;
};

class Ledger {
 public:
  /// Makes file and folder where they are missing. Throws Error(failed).
  Ledger(const std::filesystem::path& file, std::string agent, SecretBytes key);

  /// All scopes, or none. Throws Error(integrity) for a damaged file, Error(failed) when it cannot be written or stays
  /// locked: then nothing may be forwarded.
  std::variant<Reservation, Exceeded> reserve(const std::vector<Scope>& scopes, const Usage& usage,
                                              std::chrono::system_clock::time_point now);
  /// Replaces tokens and money of a reservation by what was used. The request itself stays counted.
  void settle(const Reservation& reservation, const Usage& used);

  struct Account {
    std::uint64_t minute_began = 0;
    std::uint64_t minute_requests = 0;
    std::uint64_t day = 0;  // since 1970-01-01, UTC
    std::uint64_t day_requests = 0;
    std::uint64_t day_tokens = 0;
    std::uint64_t day_microusd = 0;
  };
  /// What the file says, by scope, without a key: unverified. Throws Error(integrity) for a damaged file.
  static std::map<std::string, Account> look(const std::filesystem::path& file);
  /// The budget begins anew, also for sessions that run. False: nothing was counted yet. Throws Error(failed).
  static bool reset(const std::filesystem::path& file);

 private:
  struct State {
    std::uint64_t sequence = 0;
    std::map<std::string, Account> accounts;
  };
  class Locked;

  void turn_over(Account& account, std::uint64_t seconds) const;
  static std::optional<Exceeded> judge(const Account& account, const policy::BudgetTerms& terms, const Usage& usage,
                                       std::uint64_t seconds);
  static std::optional<State> parse_slot(ByteView slot, const SecretBytes* key, const std::string& agent);
  static constexpr std::size_t kSlots = 2;
  using Slots = std::array<Bytes, kSlots>;
  static State read_newest(int fd, const SecretBytes* key, const std::string& agent, Slots* slots = nullptr);
  State& read();
  bool is_as_known() const;
  void write();

  UniqueFd fd_;
  std::string agent_;
  SecretBytes key_;
  // As this process wrote them last: while the file says the same, nobody else has counted.
  Slots slots_;
  State state_;
  std::chrono::steady_clock::time_point synced_{};
};

}  // namespace agentvault::budget
