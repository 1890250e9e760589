// The stages that need no connection. Each looks at one request value; a refusal is a value.
#pragma once

#include <chrono>
#include <optional>

#include "broker/refusal.hpp"
#include "broker/request.hpp"
#include "policy/rule.hpp"

namespace agentvault::broker {

/// Base-URL mode: "/<credential>/..." names the grant, what follows is the upstream's target. `authority` is the
/// broker's own, which Host must name: a request meant for another server is misdirected.
std::optional<Refusal> route(SessionState& session, const std::string& authority, Request& request);

/// Finds the token, verifies it, and takes every authorization of the client's out of the request.
std::optional<Refusal> authenticate(SessionState& session, Request& request);

/// Takes out what claims to authorize, under every name that clients and this binding use.
void remove_authorization(http::Fields& fields, const provider::Binding& binding);
/// Takes out what would make an upstream obey another method, path or host than the one that was judged. Some stacks
/// read `_` in a name as `-`.
void remove_overrides(http::Fields& fields);

struct Judgement {
  policy::Decision decision;
  std::optional<Refusal> refusal;
};
/// Withdrawals, lease, caveats, base path, rules.
Judgement decide(SessionState& session, const Request& request, std::chrono::system_clock::time_point now);

/// Writes the decision to the audit log. A refusal here means: it could not be written, forward nothing.
std::optional<Refusal> record(SessionState& session, const Request& request, const policy::Decision& decision,
                              const std::optional<Refusal>& refusal);

/// The head as the upstream gets it, with the real secret in its place.
SecretBytes inject(const Request& request);

}  // namespace agentvault::broker
