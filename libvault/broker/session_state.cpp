#include "broker/session_state.hpp"

#include <algorithm>
#include <set>

#include "base/crypto.hpp"
#include "base/encoding.hpp"

namespace agentvault::broker {
namespace {

constexpr std::size_t kMaxRemembered = 256;
constexpr std::size_t kMostTokenBudgets = 100'000;

std::vector<std::string> describe_chain(const token::Token& token) {
  std::vector<std::string> chain;
  for (const auto& caveat : token.caveats) {
    if (const auto* delegation = std::get_if<token::Delegation>(&caveat)) chain.push_back(hex(delegation->id));
    if (const auto* agent = std::get_if<token::AgentName>(&caveat)) chain.push_back(agent->name);
  }
  return chain;
}

/// A sub-agent's tokens, one for each variable, have one delegation, and so one budget.
std::vector<std::pair<std::string, std::uint64_t>> budgets_of(const token::Token& token) {
  std::vector<std::pair<std::string, std::uint64_t>> budgets;
  std::string holder = hex(token.id), delegations;
  for (const auto& caveat : token.caveats) {
    // With those before it: nobody else can spend it.
    if (const auto* delegation = std::get_if<token::Delegation>(&caveat)) {
      delegations += hex(delegation->id);
      holder = delegations;
    }
    if (const auto* budget = std::get_if<token::Budget>(&caveat)) budgets.emplace_back(holder, budget->requests);
  }
  return budgets;
}

std::vector<std::string> revocable_ids(const token::Token& token) {
  std::vector<std::string> ids{hex(token.id)};
  for (const auto& caveat : token.caveats) {
    if (const auto* delegation = std::get_if<token::Delegation>(&caveat)) ids.push_back(hex(delegation->id));
  }
  return ids;
}

}  // namespace

SessionState::SessionState(Bytes id, std::uint64_t generation, Lease lease, std::vector<Grant> grants,
                           audit::Segment segment)
    : id_(std::move(id)),
      generation_(generation),
      key_(random_secret(32)),
      lease_(std::move(lease)),
      grants_(std::move(grants)),
      segment_(std::move(segment)) {
  key_.hide();
  for (auto& grant : grants_) grant.secret.hide();
  govern(std::nullopt);
}

std::chrono::system_clock::time_point SessionState::time_for_tokens() {
  using std::chrono::system_clock;
  const auto passed = std::chrono::duration_cast<system_clock::duration>(net::boot_time() - began_boot_);
  return latest_ = std::max({latest_, system_clock::now(), began_ + passed});
}

bool SessionState::follows_the_clock() const {
  const auto is_timed = [](const policy::Rule& rule) {
    return rule.hours || (rule.approve_when && rule.approve_when->hours);
  };
  return agent_ && std::any_of(agent_->rules.begin(), agent_->rules.end(), is_timed);
}

void SessionState::govern(std::optional<policy::AgentPolicy> agent, std::string source) {
  source_ = std::move(source);
  agent_ = std::move(agent);
  const auto* rules = agent_policy();
  for (auto& grant : grants_) {
    grant.rules = policy::RuleSet(policy::rules_for(rules, grant.name, grant.binding.rules));
    if (rules != nullptr && !rules->grants(grant.name)) withdrawals_.drop_credential(grant.name);
  }
  // Which hosts may be reached at all is the egress list's to say: rules without a credential only take away.
  bare_rules_ = policy::RuleSet(policy::rules_for(rules, "", {}));
}

TokenRef SessionState::verify(std::string_view text) {
  const std::string key(text);
  if (const auto found = verified_.find(key); found != verified_.end()) return found->second;
  auto token = token::decode(text);
  if (!token || token->session != id_ || token->generation != generation_ || !token::verify(key_, *token)) {
    return nullptr;
  }
  if (verified_.size() >= kMaxRemembered) verified_.clear();
  VerifiedToken verified{std::move(*token), "", {}, {}, {}};
  verified.id = hex(verified.token.id);
  verified.ids = revocable_ids(verified.token);
  verified.chain = describe_chain(verified.token);
  verified.budgets = budgets_of(verified.token);
  auto ref = std::make_shared<const VerifiedToken>(std::move(verified));
  verified_.emplace(key, ref);
  return ref;
}

std::optional<Refusal> SessionState::judge_token_budgets(const VerifiedToken& token) const {
  for (const auto& [holder, most] : token.budgets) {
    const auto spent = spent_.find(holder);
    if ((spent != spent_.end() ? spent->second : 0) >= most ||
        (spent == spent_.end() && spent_.size() >= kMostTokenBudgets)) {
      return Refusal{403, "token_budget", "the token's budget is used up (" + std::to_string(most) + " requests)",
                     "ask whoever narrowed the token"};
    }
  }
  return std::nullopt;
}

void SessionState::spend_token_budgets(const VerifiedToken& token) {
  std::set<std::string> counted;
  for (const auto& [holder, most] : token.budgets) {
    if (counted.insert(holder).second) ++spent_[holder];
  }
}

token::Token SessionState::mint(std::vector<token::Caveat> caveats) {
  token::Token token = token::mint(key_, generation_, id_, std::move(caveats));
  minted_.insert(hex(token.id));
  return token;
}

Grant* SessionState::find(std::string_view name) {
  for (auto& grant : grants_) {
    if (grant.name == name) return &grant;
  }
  return nullptr;
}

}  // namespace agentvault::broker
