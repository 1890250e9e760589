// A policy file: what each agent may do (schemas/policy.md, schemas/policy.schema.json). TOML, read strictly.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/origin.hpp"
#include "policy/budget_terms.hpp"
#include "policy/egress.hpp"
#include "policy/rule.hpp"

namespace agentvault::policy {

/// Where neither a policy nor the command line says anything.
inline constexpr std::chrono::seconds kUsualTtl = std::chrono::minutes(15);
inline constexpr std::chrono::seconds kUsualMaxLifetime = std::chrono::hours(12);
inline constexpr std::chrono::seconds kUsualApprovalTimeout = std::chrono::minutes(5);

struct AgentPolicy {
  std::string name;
  std::optional<std::vector<std::string>> credentials;  // nothing: every one
  std::optional<std::chrono::seconds> ttl;
  std::optional<std::chrono::seconds> max_lifetime;
  std::string isolation;  // "": not said
  std::optional<Egress> egress;
  std::vector<std::string> writes;
  std::vector<std::string> shares;
  std::vector<std::string> keeps;  // variables that the agent gets although they look like keys
  std::vector<net::Authority> reaches;
  std::vector<std::uint16_t> publishes;
  std::optional<std::chrono::seconds> approval_timeout;
  BudgetTerms budget;
  std::map<std::string, BudgetTerms> credential_budgets;
  std::vector<Rule> rules;

  bool grants(const std::string& credential) const;
};

/// A case in the policy's own file: what would become of a request.
struct PolicyTest {
  std::string agent;  // "": the one that always exists
  std::string method;
  std::string url;
  std::string credential;  // "": the one whose host it is
  std::vector<std::pair<std::string, std::string>> headers;
  std::optional<std::string> body;
  std::string content_type;
  Effect expected = Effect::deny;
  unsigned line = 0;
};

struct Document {
  std::vector<AgentPolicy> agents;  // by name
  std::vector<PolicyTest> tests;
  const AgentPolicy* find(std::string_view agent) const;
};

/// How large a policy file may be.
inline constexpr std::size_t kMaxDocument = std::size_t{256} << 10;

/// Throws Error(usage): "FILE:LINE:COLUMN: what is wrong".
Document parse_document(std::string_view toml, const std::string& file);

/// What an agent says that it is going to do: the rules of its steps, all of which allow. How large it may be. Throws
/// Error(usage) as parse_document().
std::vector<Rule> parse_plan(std::string_view toml, const std::string& file);
inline constexpr std::size_t kMaxPlan = std::size_t{64} << 10;

/// "5432", a port of this machine's own, or "db.internal:5432". Nothing for anything else.
std::optional<net::Authority> parse_reach(std::string_view text);

/// The rules that count for a credential (""; requests without one). Those of the policy that concern it; beside them
/// those of its preset, unless the policy itself allows something for it.
std::vector<Rule> rules_for(const AgentPolicy* agent, std::string_view credential, const std::vector<Rule>& preset);

}  // namespace agentvault::policy
