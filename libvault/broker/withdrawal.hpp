// What was taken from a session while it runs. Withdrawals only ever add up: nothing given back, nothing gained.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "broker/refusal.hpp"

namespace agentvault::broker {

class Withdrawals {
 public:
  static constexpr std::size_t kMostTokens = 10'000;

  /// Everything: no request is allowed any more.
  void stop() { stopped_ = true; }
  /// One token, or one delegation and all tokens made from it. `id` is hexadecimal. Past kMostTokens everything is.
  void revoke_token(const std::string& id);
  /// One credential: it was removed from the vault, or replaced there.
  void drop_credential(const std::string& name) { credentials_.insert(name); }

  /// Nothing: still allowed. `ids`: of the presented token and its delegations.
  std::optional<Refusal> judge(const std::string& credential, const std::vector<std::string>& ids) const;

 private:
  bool stopped_ = false;
  std::set<std::string> tokens_;
  std::set<std::string> credentials_;
};

}  // namespace agentvault::broker
