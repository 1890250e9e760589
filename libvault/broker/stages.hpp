// The stages that need no connection. Each looks at one request value; a refusal is a value.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "broker/refusal.hpp"
#include "broker/request.hpp"
#include "policy/egress.hpp"

namespace agentvault::broker {

/// The credentials that are bound to exactly this host and port.
std::vector<Grant*> grants_for(SessionState& session, const std::string& host, std::uint16_t port);

/// A tunnel whose inside the broker reads, because credentials are bound to its target.
struct Interception {
  std::string host;
  std::uint16_t port = 0;
  std::string server_name;  // of the TLS handshake inside; "" without
  TokenRef token;           // with which the tunnel was asked for
};

/// "/<credential>/...": what follows is the upstream's target. `authority` is the broker's own, which Host must name: a
/// request meant for another server is misdirected.
std::optional<Refusal> route_base_url(SessionState& session, const std::string& authority, Request& request);
/// An absolute URL, as clients send them to proxies.
std::optional<Refusal> route_proxied(SessionState& session, Request& request);
/// Inside an intercepted tunnel: Host and SNI must name its target.
std::optional<Refusal> route_intercepted(SessionState& session, const Interception& interception, Request& request);
/// CONNECT host:port.
std::optional<Refusal> route_connect(Request& request);

/// Proxy-Authorization: `implied` stands for a missing one, where that is allowed; else it may be null.
std::optional<Refusal> authenticate_proxy(SessionState& session, const TokenRef& implied, Request& request);
/// Chooses the credential, finds the token, verifies it, and takes every authorization of the client's out. Where a
/// request without any may go bare, no credential remains chosen.
std::optional<Refusal> authenticate(SessionState& session, const policy::Egress& egress, Request& request);
/// A request that no credential goes with: it must not carry a token.
std::optional<Refusal> authenticate_plain(Request& request);

/// Whether withdrawals, lease and expiry leave the request its token.
std::optional<Refusal> judge_token(SessionState& session, const Request& request);

struct Judgement {
  std::string reason;  // for the log: what allowed it
  std::optional<Refusal> refusal;
  bool asks = false;      // not refused, but a person must approve it first; `reason` is the rule
  bool steadily = false;  // ... whatever the session has done so far
};
/// judge_token(), caveats, and then: base path and rules, or egress for a request without a credential.
Judgement decide(SessionState& session, const policy::Egress& egress, const Request& request,
                 std::chrono::system_clock::time_point now);

/// Whether what is under way would still be allowed: withdrawals, egress, rules. `asked`: a person has approved it, or
/// is about to be heard; otherwise a rule that asks by now is one against it.
std::optional<Refusal> judge_again(SessionState& session, const policy::Egress& egress, const Request& request,
                                   bool asked);
/// For rules that look back: the request goes out.
void remember_allowed(SessionState& session, const Request& request);

/// Whether a budget needs to see the body of such a request.
bool meters_models(const SessionState& session, const Request& request, const Grant& grant);
/// Counts a request with a credential against every budget that limits it, before it is forwarded.
std::optional<Refusal> reserve(SessionState& session, Request& request, std::chrono::system_clock::time_point now);

/// How a request that was reserved has ended.
struct Outcome {
  bool forwarded = false;
  int status = 0;
  bool complete = false;
  std::optional<provider::ModelTokens> tokens;  // as the response says
};
void settle_budget(SessionState& session, const Request& request, const Outcome& outcome);

/// Notes the decision for the audit log, where it will be before anything is sent that was written in the same turn of
/// the loop. A refusal here means: nothing can be written any more, forward nothing.
std::optional<Refusal> record(SessionState& session, const Request& request, const Judgement& judgement);
/// For what has an effect at once, a new connection: the decision is in the log, or the refusal is returned.
std::optional<Refusal> commit_record(SessionState& session);
/// What an agent is told whose request's decision could not be written.
Refusal not_recorded();

/// The head as the upstream gets it, with the real secret in its place; with it the body, where the secret goes there.
SecretBytes inject(const Request& request);

}  // namespace agentvault::broker
