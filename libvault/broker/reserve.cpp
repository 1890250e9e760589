#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/saturating.hpp"
#include "broker/stages.hpp"
#include "budget/model_call.hpp"

namespace agentvault::broker {
namespace {

std::vector<budget::Scope> scopes_of(const SessionState& session, const Grant& grant) {
  const auto* agent = session.agent_policy();
  if (agent == nullptr) return {};
  std::vector<budget::Scope> scopes;
  if (!agent->budget.empty()) scopes.push_back({"", agent->budget});
  const auto own = agent->credential_budgets.find(grant.name);
  if (own != agent->credential_budgets.end()) scopes.push_back({own->first, own->second});
  return scopes;
}

bool any(const std::vector<budget::Scope>& scopes, bool (*wanted)(const policy::BudgetTerms&)) {
  return std::any_of(scopes.begin(), scopes.end(), [&](const auto& scope) { return wanted(scope.terms); });
}

bool limits_models(const policy::BudgetTerms& terms) {
  return terms.meters_models();
}

bool limits_money(const policy::BudgetTerms& terms) {
  return terms.microusd_per_day.has_value();
}

Refusal unbounded(const std::string& reason) {
  return {403, "budget_unbounded", "a budget limits what models use, and " + reason,
          "send a request whose most is known: a known model, and nothing that the provider fetches itself"};
}

/// The most that the request can use; also notes how it is settled.
std::optional<Refusal> bound(const std::vector<budget::Scope>& scopes, Request& request, budget::Usage& usage) {
  usage.requests = 1;
  if (!any(scopes, limits_models)) return std::nullopt;
  const auto& metering = request.grant->metering;
  const bool read = request.collected || !request.has_body();
  if (request.websocket && metering.shape != provider::Metering::Shape::none) {
    return unbounded("what goes through a WebSocket is not read");
  }
  const auto call =
      budget::read_model_call(metering.shape, request.head.method, request.target.path, read ? &request.body : nullptr);
  if (std::holds_alternative<budget::NoModelCall>(call)) return std::nullopt;
  if (const auto* reason = std::get_if<budget::Unbounded>(&call)) return unbounded(reason->reason);
  const auto& model = std::get<budget::ModelCall>(call);
  request.price = metering.price_of(model.model);
  if (!request.price && any(scopes, limits_money)) {
    return unbounded("the price of this model is not known (\"agentvault provider show " +
                     request.grant->binding.provider + "\" lists those that are)");
  }
  usage.tokens = saturating_sum(model.most.input, model.most.output);
  if (request.price) usage.microusd = provider::cost_of(model.most, *request.price);
  request.model_call = true;
  return std::nullopt;
}

/// Nothing is charged for what a service refuses before a model has run. Behind a time limit, or a fault on the way,
/// one may have; Azure also charges for what its filter of contents refuses, with 400.
bool is_free(const Request& request, int status) {
  constexpr std::array before_a_model{401, 403, 404, 405, 413, 415, 422, 429, 503, 529};
  if (status == 400) return request.grant->binding.provider != "azure-openai";
  return std::find(before_a_model.begin(), before_a_model.end(), status) != before_a_model.end();
}

Refusal exceeded(const budget::Exceeded& why) {
  if (why.until.count() == 0) {
    return {403, "budget_too_small", "this request alone could use more than the budget (" + why.limit + ")",
            "ask for less: a smaller max_tokens, a shorter request"};
  }
  return {429, "budget_exceeded", "the budget is used up (" + why.limit + ")",
          "wait, or ask for a larger budget in the policy", static_cast<std::uint64_t>(why.until.count())};
}

}  // namespace

bool meters_models(const SessionState& session, const Request& request, const Grant& grant) {
  if (!any(scopes_of(session, grant), limits_models) || grant.metering.shape == provider::Metering::Shape::none)
    return false;
  return request.head.method == "POST";
}

std::optional<Refusal> reserve(SessionState& session, Request& request, std::chrono::system_clock::time_point now) {
  const auto scopes = scopes_of(session, *request.grant);
  if (!scopes.empty() && session.ledger() == nullptr) {
    return Refusal{503, "budget_failed", "the budget cannot be counted in this session", "start a new session"};
  }
  budget::Usage usage;
  if (auto refusal = bound(scopes, request, usage)) return refusal;
  if (auto refusal = session.judge_token_budgets(*request.token)) return refusal;
  try {
    if (!scopes.empty()) {
      auto result = session.ledger()->reserve(scopes, usage, now);
      if (const auto* why = std::get_if<budget::Exceeded>(&result)) return exceeded(*why);
      request.reservation = std::move(std::get<budget::Reservation>(result));
    }
    session.spend_token_budgets(*request.token);
    return std::nullopt;
  } catch (const Error& error) {
    log::warning(error.what());
    return Refusal{503, "budget_failed", "the budget could not be counted", "nothing was forwarded: " + error.hint()};
  }
}

void settle_budget(SessionState& session, const Request& request, const Outcome& outcome) {
  if (!request.reservation || session.ledger() == nullptr) return;
  budget::Usage used = request.reservation->usage;
  if (!outcome.forwarded || is_free(request, outcome.status)) {
    used.tokens = used.microusd = 0;
  } else if (request.model_call && outcome.complete && outcome.tokens) {
    used.tokens = saturating_sum(outcome.tokens->input, outcome.tokens->output);
    used.microusd = request.price ? provider::cost_of(*outcome.tokens, *request.price) : 0;
  }
  try {
    session.ledger()->settle(*request.reservation, used);
  } catch (const Error& error) {
    log::warning(error.what());  // then the reservation stands
  }
}

}  // namespace agentvault::broker
