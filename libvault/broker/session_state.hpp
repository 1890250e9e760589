// What the broker holds for its session: the granted secrets, the session's own key, and what the stages count.
// Nothing in it could open the vault.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "audit/segment.hpp"
#include "base/secret_bytes.hpp"
#include "broker/history.hpp"
#include "broker/lease.hpp"
#include "broker/plans.hpp"
#include "broker/withdrawal.hpp"
#include "budget/ledger.hpp"
#include "policy/document.hpp"
#include "policy/rule_set.hpp"
#include "provider/binding.hpp"
#include "provider/metering.hpp"
#include "token/token.hpp"

namespace agentvault::broker {

/// One credential that this session may use.
struct Grant {
  std::string name;
  provider::Binding binding;
  SecretBytes secret;

  policy::RuleSet rules{};  // of policy and preset together
  provider::Metering metering{};

  /// Responses in which the secret came back. Past kMaxReflections the credential is suspended for the session.
  unsigned reflections = 0;
  static constexpr unsigned kMaxReflections = 10;
  bool suspended() const { return reflections > kMaxReflections; }
};

/// A token whose chain was verified. Caveats and the lease are judged again for every request.
struct VerifiedToken {
  token::Token token;
  std::string id;                  // for the log
  std::vector<std::string> chain;  // delegation ids and agent names, for the log
  std::vector<std::string> ids;    // its own and its delegations': by each it can be revoked
  std::vector<std::string> delegations() const { return {ids.begin() + 1, ids.end()}; }
  /// Of each budget caveat: whose it is, a delegation's or the token's, and how many requests that has.
  std::vector<std::pair<std::string, std::uint64_t>> budgets;
};

/// Stays good for whoever holds it, though another token may take its place in the session's memory.
using TokenRef = std::shared_ptr<const VerifiedToken>;

class SessionState {
 public:
  SessionState(Bytes id, std::uint64_t generation, Lease lease, std::vector<Grant> grants, audit::Segment segment);

  /// What the agent may do from now on, in place of what held before; nothing: what the presets allow. Gives no
  /// credential back, and none that the session was not granted when it began.
  /// `source`: for people, where that stands.
  void govern(std::optional<policy::AgentPolicy> agent, std::string source = "");
  const std::string& policy_source() const { return source_; }
  /// Null: the presets alone.
  const policy::AgentPolicy* agent_policy() const { return agent_ ? &*agent_ : nullptr; }
  /// For requests that no credential goes with.
  const policy::RuleSet& bare_rules() const { return bare_rules_; }
  SessionHistory& history() { return history_; }
  Plans& plans() { return plans_; }
  /// Null: this session counts nothing.
  budget::Ledger* ledger() { return ledger_ ? &*ledger_ : nullptr; }
  void set_ledger(budget::Ledger ledger) { ledger_ = std::move(ledger); }
  /// Whether a person can be asked: an agent that nothing holds could answer for itself.
  bool can_ask() const { return can_ask_; }
  void set_can_ask(bool can) { can_ask_ = can; }
  /// Whether each of its budget caveats allows one request more with this token; and that it was made.
  std::optional<Refusal> judge_token_budgets(const VerifiedToken& token) const;
  void spend_token_budgets(const VerifiedToken& token);

  /// Null: not ours, or not good.
  TokenRef verify(std::string_view text);
  token::Token mint(std::vector<token::Caveat> caveats);
  /// `id` is hexadecimal.
  bool has_minted(const std::string& id) const { return minted_.contains(id); }

  const Bytes& id() const { return id_; }
  Lease& lease() { return lease_; }
  /// What tokens expire by: the machine's clock, but never behind what it has said, or what has passed since.
  std::chrono::system_clock::time_point time_for_tokens();
  /// Whether what is allowed depends on the time of day: then what is under way must be looked at again.
  bool follows_the_clock() const;
  Withdrawals& withdrawals() { return withdrawals_; }
  std::vector<Grant>& grants() { return grants_; }
  Grant* find(std::string_view name);
  audit::Segment& segment() { return segment_; }
  std::uint64_t next_request() { return ++requests_; }
  std::uint64_t requests() const { return requests_; }

 private:
  Bytes id_;
  std::uint64_t generation_;
  SecretBytes key_;  // random, lives only here: with the process all its tokens end
  Lease lease_;
  const std::chrono::system_clock::time_point began_ = std::chrono::system_clock::now();
  const net::BootTime began_boot_ = net::boot_time();
  std::chrono::system_clock::time_point latest_ = began_;
  Withdrawals withdrawals_;
  std::vector<Grant> grants_;
  std::optional<policy::AgentPolicy> agent_;
  std::string source_;
  policy::RuleSet bare_rules_;
  SessionHistory history_;
  Plans plans_;
  std::optional<budget::Ledger> ledger_;
  std::unordered_map<std::string, std::uint64_t> spent_;  // of token budgets
  bool can_ask_ = false;
  audit::Segment segment_;
  std::uint64_t requests_ = 0;
  std::unordered_set<std::string> minted_;              // ids
  std::unordered_map<std::string, TokenRef> verified_;  // by exact text, bounded
};

}  // namespace agentvault::broker
