#include "broker/stages.hpp"
#include "policy/rule.hpp"

namespace agentvault::broker {
namespace {

std::uint64_t unix_seconds(std::chrono::system_clock::time_point now) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count());
}

Refusal unmet_refusal(token::Unmet unmet) {
  switch (unmet) {
    case token::Unmet::expired:
      return token_expired();
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

/// Paths are a credential's own: a token that is narrowed to some of them opens no other host.
std::string judged_path(const Request& request) {
  return request.grant != nullptr ? request.target.path : std::string();
}

/// Where a preset lets %2F stand for a character, a prohibition still holds for both readings.
policy::Decision decide_both_readings(const provider::Binding& binding, const Request& request) {
  const auto decision = policy::decide(binding.rules, request.head.method, request.target.path);
  const auto other = policy::decide(binding.rules, request.head.method, http::with_slashes(request.target.path));
  const bool prohibited = !other.allowed && other.rule;
  return decision.allowed && prohibited ? other : decision;
}

Judgement decide_egress(const Egress& egress, const Request& request) {
  const auto& upstream = request.upstream;
  if (egress.permits(upstream.host, upstream.port)) return {"egress " + egress.text(), std::nullopt};
  return {"", Refusal{403, "egress_denied", "this session may not reach " + upstream.authority(),
                      "its egress is " + egress.text() + ": \"agentvault exec --egress\" names other hosts"}};
}

Judgement decide_credential(const Request& request) {
  const auto& grant = *request.grant;
  const auto& binding = grant.binding;
  if (grant.suspended()) {
    return {"", Refusal{403, "credential_suspended", "the upstream sent this credential's secret back too often",
                        "start a new session, and keep away from endpoints that reflect requests"}};
  }
  if (!binding.covers(request.target.path) || !binding.covers(http::with_slashes(request.target.path))) {
    return {"", Refusal{403, "outside_base", "the path is not under " + binding.base,
                        "the credential is bound to " + binding.origin.text() + binding.base}};
  }
  const auto decision = decide_both_readings(binding, request);
  const auto reason = policy::explain(decision);
  if (decision.allowed) return {reason, std::nullopt};
  return {reason, Refusal{403, "policy_denied", "the policy does not allow this request (" + reason + ")",
                          "\"agentvault show " + grant.name + "\" lists the rules"}};
}

}  // namespace

std::optional<Refusal> judge_token(SessionState& session, const Request& request,
                                   std::chrono::system_clock::time_point now) {
  if (auto withdrawn = session.withdrawals().judge(request.credential(), request.token_ids)) return withdrawn;
  if (!session.lease().alive()) {
    return Refusal{401, "token_expired", "the session has ended", "start a new one with \"agentvault exec\""};
  }
  if (request.not_after && unix_seconds(now) > *request.not_after) return token_expired();
  return std::nullopt;
}

Judgement decide(SessionState& session, const Egress& egress, const Request& request,
                 std::chrono::system_clock::time_point now) {
  if (auto refusal = judge_token(session, request, now)) return {"", std::move(refusal)};
  const std::string path = judged_path(request);
  for (const auto& reading : {path, http::with_slashes(path)}) {
    const token::Facts facts{unix_seconds(now), request.credential(), request.head.method, reading};
    if (const auto unmet = token::first_unmet(request.token->token, facts)) return {"", unmet_refusal(*unmet)};
  }
  return request.grant != nullptr ? decide_credential(request) : decide_egress(egress, request);
}

}  // namespace agentvault::broker
