#include "broker/admission.hpp"

#include <algorithm>

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "broker/json_body.hpp"
#include "broker/taken_tokens.hpp"

namespace agentvault::broker {
namespace {

constexpr std::size_t kMaxJudgedBody = std::size_t{16} << 20;
constexpr const char* kPlanTarget = "/.agentvault/plan";

std::size_t shown_size(const Request& request) {
  std::size_t size = request.target.text().size();
  for (const auto& field : request.head.fields.list()) size += field.name.size() + field.value.size();
  return size;
}

/// What cannot be asked is denied.
std::optional<Refusal> refuse_to_ask(const SessionState& session, const Request& request) {
  if (!session.can_ask()) {
    return Refusal{403, "approval_impossible", "the policy asks for a person's approval, and isolation is off",
                   "an agent that nothing holds could answer itself: start the session at strict or standard"};
  }
  // What is approved is the complete request, and a person has to read it.
  if (shown_size(request) > Question::kMostShown) {
    return Refusal{403, "approval_impossible",
                   "a request that a person is asked about has too long an address, or head", "send a shorter one"};
  }
  if (request.has_body() && !request.collected) {
    return Refusal{413, "body_too_large", "a request that a person is asked about is larger than 16 MiB",
                   "send a smaller one"};
  }
  return std::nullopt;
}

bool accepts(const Grant& grant, provider::Place::Kind kind) {
  const auto places = grant.binding.places();
  return std::any_of(places.begin(), places.end(), [&](const auto& place) { return place.kind == kind; });
}

}  // namespace

bool Admission::is_for_broker(const net::Endpoint& endpoint) const {
  const auto own = net::parse_authority(context_.authority);
  return endpoint.port == own->port && (endpoint.host == own->host || endpoint.host == "localhost");
}

std::optional<Refusal> Admission::route(Request& request) {
  if (interception_) return route_intercepted(context_.session, *interception_, request);
  if (is_connect(request)) return route_connect(request);
  if (request.head.method == "POST" && request.head.target == kPlanTarget) {
    request.declares_plan = true;
    request.target.path = kPlanTarget;  // for the log
    return std::nullopt;
  }
  if (request.head.target.front() == '/') return route_base_url(context_.session, context_.authority, request);
  if (auto refusal = route_proxied(context_.session, request)) return refusal;
  if (!is_for_broker(request.upstream)) return std::nullopt;
  // A client that sends even this to its proxy.
  request.head.target = request.target.text();
  request.head.fields.remove("proxy-authorization");
  return route_base_url(context_.session, context_.authority, request);
}

bool Admission::key_goes_into_body(const Request& request) const {
  return std::any_of(request.candidates.begin(), request.candidates.end(),
                     [](const Grant* grant) { return accepts(*grant, provider::Place::Kind::body); });
}

std::size_t Admission::wanted_body(const Request& request) const {
  if (request.declares_plan) return policy::kMaxPlan;
  if (key_goes_into_body(request)) return kMaxJsonBody;
  const auto asks = [&](const policy::RuleSet& rules) {
    auto questions = rules.questions(request.head.method, request.target.path);
    questions.add(rules.questions(request.head.method, http::with_slashes(request.target.path)));
    return questions.body || (questions.fields && policy::has_fields(request.head.fields));
  };
  const auto grant_asks = [&](const Grant* grant) {
    // Where the token is still in the path, it is not yet known which rules are asked.
    if (accepts(*grant, provider::Place::Kind::path)) return grant->rules.asks_for_body();
    return meters_models(context_.session, request, *grant) || asks(grant->rules);
  };
  const bool may_name_method = request.head.method == "POST" && policy::may_be_form(request.head.fields);
  const bool asked = may_name_method || context_.session.plans().any_asks_for_body() ||
                     asks(context_.session.bare_rules()) ||
                     std::any_of(request.candidates.begin(), request.candidates.end(), grant_asks);
  return asked ? kMaxJudgedBody : 0;
}

bool Admission::is_agents_own(const Request& request) const {
  if (interception_) return interception_->token->delegations().empty();
  const auto is_own = [&](const std::string& text) {
    const auto token = context_.session.verify(text);
    return token && token->delegations().empty();
  };
  return std::any_of(request.head.fields.list().begin(), request.head.fields.list().end(), [&](const auto& field) {
    const auto tokens = tokens_of_authorization(field.value).tokens;
    return is_own(field.value) || std::any_of(tokens.begin(), tokens.end(), is_own);
  });
}

Judgement Admission::decide_connect(Request& request) {
  if (auto refusal = authenticate_proxy(context_.session, implied_, request)) return {"", std::move(refusal)};
  proxy_token_ = request.token;
  const auto now = std::chrono::system_clock::now();
  const auto& target = request.upstream;
  const bool ours = is_for_broker(target);
  if (!ours && grants_for(context_.session, target.host, target.port).empty()) {
    request.upstream.local_allowed = context_.egress.names_local(target.host, target.port);
    return decide(context_.session, context_.egress, request, now);
  }
  // Each request inside is judged on its own.
  return {ours ? "the broker itself" : "intercepted", judge_token(context_.session, request)};
}

Judgement Admission::decide_all(Request& request) {
  if (is_connect(request)) return decide_connect(request);
  if (interception_) {
    // What goes without a token of its own goes with the tunnel's.
    request.token = interception_->token;
    request.token_ids = request.token->ids;
    request.not_after = token::not_after(request.token->token);
    request.pool_key = request.upstream.authority() + "\n(bare)\n" + hex(request.token->token.tag);
  } else if (!request.by_base_url) {
    if (auto refusal = authenticate_proxy(context_.session, implied_, request)) return {"", std::move(refusal)};
  }
  if (request.candidates.empty()) {
    if (auto refusal = authenticate_plain(request)) return {"", std::move(refusal)};
    request.upstream.local_allowed = context_.egress.names_local(request.upstream.host, request.upstream.port);
  } else if (auto refusal = authenticate(context_.session, context_.egress, request)) {
    return {"", std::move(refusal)};
  }
  return decide(context_.session, context_.egress, request, std::chrono::system_clock::now());
}

/// Shares, budgets and the record: nothing is forwarded without them.
Judgement Admission::finish(Request& request, Judgement judgement) {
  if (!judgement.refusal && request.token && !request.share) {
    request.share = context_.shares.take(*request.token);
    if (!request.share) {
      judgement.refusal = Refusal{429, "too_many_at_once", "this sub-agent has as many requests under way as it may",
                                  "wait until some of them are done", 1};
    }
  }
  if (!judgement.refusal && !judgement.asks && request.grant != nullptr) {
    judgement.refusal = reserve(context_.session, request, std::chrono::system_clock::now());
  }
  if (auto failure = record(context_.session, request, judgement)) {
    settle_budget(context_.session, request, {});
    judgement.refusal = std::move(failure);
  }
  return judgement;
}

/// What an agent says that it is going to do binds the chain that it says it with.
Judgement Admission::bind_plan(Request& request) {
  TakenTokens taken;
  for (const auto& field : request.head.fields.list()) {
    if (!equal_ignoring_case(field.name, "authorization")) continue;
    const auto found = tokens_of_authorization(field.value);
    taken.tokens.insert(taken.tokens.end(), found.tokens.begin(), found.tokens.end());
  }
  if (taken.tokens.size() == 1) request.token = context_.session.verify(taken.tokens.front());
  if (!request.token) {
    return {"", Refusal{401, "token_invalid", "a plan is declared with one token of this session",
                        "send it as Authorization: Bearer"}};
  }
  request.token_ids = request.token->ids;
  request.not_after = token::not_after(request.token->token);
  if (auto refusal = judge_token(context_.session, request)) return {"", std::move(refusal)};
  try {
    if (!context_.session.plans().add(request.token->delegations(), policy::parse_plan(request.body, "plan"))) {
      return {"", Refusal{403, "too_many_plans", "this session is bound to as many plans as it takes", "keep to them"}};
    }
  } catch (const Error& error) {
    return {"", Refusal{400, "bad_plan", error.what(), error.hint()}};
  }
  return {"plan bound", std::nullopt};
}

Judgement Admission::judge(Request& request, std::optional<Refusal> refusal) {
  Judgement judgement{"", std::move(refusal)};
  if (!judgement.refusal && request.declares_plan) {
    judgement = finish(request, bind_plan(request));
    if (!judgement.refusal) {
      judgement.refusal =
          Refusal{201, "plan_bound", "requests are held to this plan from now on", "it only takes away"};
    }
    return judgement;
  }
  if (!judgement.refusal) judgement = decide_all(request);
  if (judgement.asks && context_.approvals.covers(request, judgement.reason)) {
    judgement.asks = false;
    judgement.reason += ", approved before";
    request.approved = true;
    remember_allowed(context_.session, request);
  }
  if (judgement.asks) judgement.refusal = refuse_to_ask(context_.session, request);
  return finish(request, std::move(judgement));
}

std::optional<Refusal> Admission::judge_answered(Request& request, Approvals::Verdict verdict) {
  Judgement judgement = decide(context_.session, context_.egress, request, std::chrono::system_clock::now());
  if (!judgement.refusal && verdict != Approvals::Verdict::approved) {
    const bool late = verdict == Approvals::Verdict::timed_out;
    judgement.refusal = Refusal{403, late ? "approval_timeout" : "approval_denied",
                                late ? "nobody approved the request in time" : "a person denied the request",
                                "ask whoever started the session"};
  }
  judgement.asks = false;
  judgement.reason += ", approved";
  request.approved = !judgement.refusal;
  if (request.approved) remember_allowed(context_.session, request);
  return finish(request, std::move(judgement)).refusal;
}

Admission::Inside Admission::enter_tunnel(const Request& connect) {
  const auto& target = connect.upstream;
  if (is_for_broker(target)) return Inside::broker;
  if (grants_for(context_.session, target.host, target.port).empty()) return Inside::opaque;
  interception_ = Interception{target.host, target.port, "", proxy_token_};
  return Inside::interception;
}

void Admission::set_server_name(const std::string& name) {
  interception_->server_name = name;
}

}  // namespace agentvault::broker
