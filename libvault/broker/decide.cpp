#include "broker/stages.hpp"

namespace agentvault::broker {
namespace {

Refusal unmet_refusal(token::Unmet unmet) {
  switch (unmet) {
    case token::Unmet::expired:
      return {401, "token_expired", "the token has expired", "start a new session with \"agentvault exec\""};
    case token::Unmet::other_credential:
      return {401, "token_other_credential", "the token is for another credential",
              "use the token of this credential's own environment variable"};
    case token::Unmet::method:
      return {403, "token_method", "the token does not allow this method", "ask whoever narrowed the token"};
    case token::Unmet::path:
      return {403, "token_path", "the token does not allow this path", "ask whoever narrowed the token"};
  }
  return {403, "denied", "denied", ""};
}

bool under_base(const std::string& path, const std::string& base) {
  return path.starts_with(base) && (path.size() == base.size() || path[base.size()] == '/');
}

}  // namespace

Judgement decide(SessionState& session, const Request& request, std::chrono::system_clock::time_point now) {
  const auto& binding = request.grant->binding;
  if (auto withdrawn = session.withdrawals().judge(request.grant->name, request.token_ids)) return {{}, withdrawn};
  if (!session.lease().alive()) {
    return {{}, Refusal{401, "token_expired", "the session has ended", "start a new one with \"agentvault exec\""}};
  }
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  const token::Facts facts{static_cast<std::uint64_t>(seconds), request.grant->name, request.head.method,
                           request.target.path};
  if (const auto unmet = token::first_unmet(request.token->token, facts)) return {{}, unmet_refusal(*unmet)};
  if (request.grant->suspended()) {
    return {{},
            Refusal{403, "credential_suspended", "the upstream sent this credential's secret back too often",
                    "start a new session, and keep away from endpoints that reflect requests"}};
  }
  if (!under_base(request.target.path, binding.base)) {
    return {{},
            Refusal{403, "outside_base", "the path is not under " + binding.base,
                    "the credential is bound to " + binding.origin.text() + binding.base}};
  }
  const auto decision = policy::decide(binding.rules, request.head.method, request.target.path);
  if (decision.allowed) return {decision, std::nullopt};
  return {decision,
          Refusal{403, "policy_denied", "the policy does not allow this request (" + policy::explain(decision) + ")",
                  "\"agentvault show " + request.grant->name + "\" lists the rules"}};
}

}  // namespace agentvault::broker
