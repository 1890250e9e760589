#include "broker/withdrawal.hpp"

#include <algorithm>

namespace agentvault::broker {

void Withdrawals::revoke_token(const std::string& id) {
  if (tokens_.size() >= kMostTokens) return stop();
  tokens_.insert(id);
}

std::optional<Refusal> Withdrawals::judge(const std::string& credential, const std::vector<std::string>& ids) const {
  if (stopped_) {
    return Refusal{401, "session_revoked", "the session was revoked", "start a new one with \"agentvault exec\""};
  }
  if (!tokens_.empty() && std::any_of(ids.begin(), ids.end(), [&](const auto& id) { return tokens_.contains(id); })) {
    return Refusal{401, "token_revoked", "the token was revoked", "ask whoever gave it to you for another"};
  }
  if (!credentials_.empty() && credentials_.contains(credential)) {
    return Refusal{403, "credential_withdrawn", "the credential was removed or replaced while the session ran",
                   "start a new session with \"agentvault exec\""};
  }
  return std::nullopt;
}

}  // namespace agentvault::broker
