#include "broker/stages.hpp"
#include "policy/rule_set.hpp"

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
    case token::Unmet::depth:
      return {403, "token_depth", "the token was handed on more often than it allows",
              "ask whoever narrowed the token"};
  }
  return {403, "denied", "denied", ""};
}

/// Paths are a credential's own: a token that is narrowed to some of them opens no other host.
std::string judged_path(const Request& request) {
  return request.grant != nullptr ? request.target.path : std::string();
}

/// Only what was collected can be read; what a WebSocket will carry cannot. A form is looked at in any case: some
/// servers take the method from one.
policy::Content content_of(const Request& request, const policy::RuleSet& rules, const http::Fields& fields,
                           const std::string& path) {
  if (!request.has_body() && !request.websocket) return {};
  if (!rules.asks_for_body() && !policy::may_be_form(fields)) return {};
  const policy::Questions questions = rules.questions(request.head.method, path);
  return {fields, request.collected ? &request.body : nullptr, questions};
}

std::optional<std::uint64_t> body_size(const Request& request) {
  if (request.websocket) return std::nullopt;
  if (request.collected) return request.body.size();
  if (!request.has_body()) return 0;
  const auto& framing = request.head.framing;
  return framing.kind == http::Framing::Kind::length ? std::optional(framing.length) : std::nullopt;
}

/// One that nobody here looks into.
bool is_tunnel(const Request& request) {
  return request.head.method == "CONNECT";
}

policy::Decision ask(SessionState& session, const policy::RuleSet& rules, const Request& request,
                     const std::string& path, std::chrono::system_clock::time_point now) {
  // As they will be forwarded: without what Connection names.
  http::Fields fields = request.head.fields;
  http::remove_hop_by_hop(fields);
  const auto content = content_of(request, rules, fields, path);
  policy::Facts facts;
  facts.credential = request.credential();
  facts.host = request.upstream.host;
  facts.method = request.head.method;
  facts.path = path;
  facts.query = request.target.has_query ? &request.target.query : nullptr;
  facts.fields = &fields;
  facts.content = &content;
  facts.body_size = body_size(request);
  facts.time = policy::LocalTime::of(now);
  if (rules.asks_for_history()) {
    facts.history =
        session.history().of(facts.credential, facts.host, facts.method, facts.path, SessionHistory::Clock::now());
  }
  return is_tunnel(request) ? rules.decide_tunnel(facts) : rules.decide(facts);
}

/// Where a preset lets %2F stand for a character, what a rule takes away is taken away from both readings.
policy::Decision ask_both_readings(SessionState& session, const policy::RuleSet& rules, const Request& request,
                                   std::chrono::system_clock::time_point now) {
  const auto decision = ask(session, rules, request, request.target.path, now);
  const auto slashed = http::with_slashes(request.target.path);
  if (slashed == request.target.path) return decision;
  const auto other = ask(session, rules, request, slashed, now);
  return other.rule && other.effect > decision.effect ? other : decision;
}

Refusal policy_denied(const std::string& reason, const std::string& hint) {
  return {403, "policy_denied", "the policy does not allow this request (" + reason + ")", hint};
}

std::string where_rules_are(const SessionState& session, const policy::RuleSet& rules, const policy::Decision& decision,
                            const std::string& command) {
  const std::string listed = "\"agentvault " + command + "\" lists the rules";
  const unsigned line = decision.rule ? rules.rules()[*decision.rule - 1].line : 0;
  if (line == 0 || session.policy_source().empty()) return listed;
  return "it is line " + std::to_string(line) + " of " + session.policy_source() + "; " + listed;
}

/// Not only because of what the session has done.
bool asks_steadily(const policy::RuleSet& rules, const policy::Decision& decision) {
  return decision.rule && rules.rules()[*decision.rule - 1].effect == policy::Effect::approve;
}

Judgement decide_egress(SessionState& session, const policy::Egress& egress, const Request& request,
                        std::chrono::system_clock::time_point now) {
  const auto& upstream = request.upstream;
  if (!egress.permits(upstream.host, upstream.port)) {
    return {"", Refusal{403, "egress_denied", "this session may not reach " + upstream.authority(),
                        "its egress is " + egress.text() + ": \"agentvault exec --egress\" names other hosts"}};
  }
  // What is open otherwise, a rule can take away. Of a tunnel only the host is known.
  const auto& rules = session.bare_rules();
  std::string path = request.target.path;
  if (!is_tunnel(request) && !rules.rules().empty()) {
    // It is forwarded as it was sent, and so must have one reading.
    const auto parsed = http::parse_target(path);
    if (const auto* bad = std::get_if<http::BadTarget>(&parsed)) {
      return {"", Refusal{400, "bad_target", "the request target is refused: " + bad->reason,
                          "send the path in its plain, normal form"}};
    }
    path = std::get<http::Target>(parsed).path;
  }
  const auto decision = ask(session, rules, request, path, now);
  if (!decision.rule || decision.allowed()) return {"egress " + egress.text(), std::nullopt};
  const auto reason = rules.explain(decision);
  if (decision.effect == policy::Effect::approve) return {reason, std::nullopt, true, asks_steadily(rules, decision)};
  return {reason, policy_denied(reason, where_rules_are(session, rules, decision, "policy show"))};
}

Judgement decide_credential(SessionState& session, const Request& request, std::chrono::system_clock::time_point now) {
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
  const auto decision = ask_both_readings(session, grant.rules, request, now);
  const auto reason = grant.rules.explain(decision);
  if (decision.effect != policy::Effect::deny) {
    return {reason, std::nullopt, !decision.allowed(), asks_steadily(grant.rules, decision)};
  }
  return {reason, policy_denied(reason, where_rules_are(session, grant.rules, decision, "show " + grant.name))};
}

/// Every plan that the token's chain is bound to must have a step for the request. Of a tunnel only the host is known.
std::optional<Refusal> judge_plans(SessionState& session, const Request& request,
                                   std::chrono::system_clock::time_point now) {
  if (session.plans().empty()) return std::nullopt;
  for (const auto* plan : session.plans().of(request.token->delegations())) {
    if (ask_both_readings(session, *plan, request, now).allowed()) continue;
    return Refusal{403, "outside_plan", "the request is no part of the declared plan",
                   "a plan only takes away: do what was declared, or have another session started"};
  }
  return std::nullopt;
}

void remember(SessionState& session, const Request& request, const Judgement& judgement) {
  if (!judgement.refusal && !judgement.asks) {
    remember_allowed(session, request);
  } else if (judgement.refusal && judgement.refusal->status == 403) {
    session.history().denied(SessionHistory::Clock::now());
  }
}

}  // namespace

std::optional<Refusal> judge_token(SessionState& session, const Request& request) {
  if (auto withdrawn = session.withdrawals().judge(request.credential(), request.token_ids)) return withdrawn;
  if (!session.lease().alive()) {
    return Refusal{401, "token_expired", "the session has ended", "start a new one with \"agentvault exec\""};
  }
  if (request.not_after && unix_seconds(session.time_for_tokens()) > *request.not_after) return token_expired();
  return std::nullopt;
}

std::optional<Refusal> judge_again(SessionState& session, const policy::Egress& egress, const Request& request,
                                   bool asked) {
  if (auto withdrawn = session.withdrawals().judge(request.credential(), request.token_ids)) return withdrawn;
  const auto now = std::chrono::system_clock::now();
  auto judgement = request.grant != nullptr ? decide_credential(session, request, now)
                                            : decide_egress(session, egress, request, now);
  if (!judgement.refusal && judgement.asks && judgement.steadily && !asked) {
    return Refusal{403, "approval_needed", "requests like this one are asked about by now (" + judgement.reason + ")",
                   "send it again: it waits for \"agentvault approve\""};
  }
  return judgement.refusal;
}

void remember_allowed(SessionState& session, const Request& request) {
  session.history().allowed(request.credential(), request.upstream.host, request.head.method, request.target.path);
}

Judgement decide(SessionState& session, const policy::Egress& egress, const Request& request,
                 std::chrono::system_clock::time_point now) {
  if (auto refusal = judge_token(session, request)) return {"", std::move(refusal)};
  const std::string path = judged_path(request);
  const auto seconds = unix_seconds(session.time_for_tokens());
  for (const auto& reading : {path, http::with_slashes(path)}) {
    const token::Facts facts{seconds, request.credential(), request.head.method, reading};
    if (const auto unmet = token::first_unmet(request.token->token, facts)) return {"", unmet_refusal(*unmet)};
  }
  auto judgement = request.grant != nullptr ? decide_credential(session, request, now)
                                            : decide_egress(session, egress, request, now);
  if (!judgement.refusal) {
    judgement.refusal = judge_plans(session, request, now);
    if (judgement.refusal) judgement.asks = false;
  }
  remember(session, request, judgement);
  return judgement;
}

}  // namespace agentvault::broker
