#include <algorithm>

#include "base/encoding.hpp"
#include "base/text.hpp"
#include "broker/stages.hpp"
#include "broker/taken_tokens.hpp"

namespace agentvault::broker {
namespace {

constexpr std::string_view kProxyAuthorization = "proxy-authorization";

/// A token where the binding does not expect one would reach the upstream, and its log.
bool has_stray_token(const Request& request) {
  if (holds_token(request.target.text())) return true;
  return std::any_of(request.head.fields.list().begin(), request.head.fields.list().end(),
                     [](const auto& field) { return holds_token(field.value) || holds_token(field.name); });
}

Refusal misplaced() {
  return {400, "token_misplaced", "a token stands where this credential does not expect one",
          "send it only in the place where the key would go"};
}

/// Whether the token is for this credential, as far as its caveats say.
bool is_for(const token::Token& token, const std::string& credential) {
  return std::all_of(token.caveats.begin(), token.caveats.end(), [&](const auto& caveat) {
    if (const auto* only = std::get_if<token::Credential>(&caveat)) return only->name == credential;
    const auto* some = std::get_if<token::Credentials>(&caveat);
    return some == nullptr || std::find(some->names.begin(), some->names.end(), credential) != some->names.end();
  });
}

/// Whether the request could be meant for this credential of several with one origin.
bool fits(SessionState& session, const Request& request, const Grant& grant) {
  if (!grant.binding.covers(request.target.path)) return false;
  Request copy = request;
  TakenTokens taken;
  if (take_tokens(grant.binding, copy, taken) || taken.tokens.size() != 1) return false;
  const auto verified = session.verify(taken.tokens.front());
  return verified && is_for(verified->token, grant.name);
}

/// Which credential of this origin the request is for: its token says so, or its path.
std::optional<Refusal> choose_grant(SessionState& session, Request& request) {
  request.grant = request.candidates.front();
  if (request.candidates.size() == 1) return std::nullopt;
  std::vector<Grant*> fitting;
  for (auto* grant : request.candidates) {
    if (fits(session, request, *grant)) fitting.push_back(grant);
  }
  if (fitting.size() > 1) {
    return Refusal{401, "ambiguous_credential",
                   "both " + fitting[0]->name + " and " + fitting[1]->name + " could be meant",
                   "send the token of one credential's own environment variable"};
  }
  if (!fitting.empty()) {
    request.grant = fitting.front();
    return std::nullopt;
  }
  // Without a token: the one that lets such requests through, if there is one.
  const auto anonymous = std::find_if(request.candidates.begin(), request.candidates.end(),
                                      [](const Grant* grant) { return grant->binding.anonymous; });
  if (anonymous != request.candidates.end()) request.grant = *anonymous;
  return std::nullopt;
}

/// No authorization at all: plain egress, where the preset says that this is of any use.
bool may_go_bare(const Request& request, const TakenTokens& taken, const policy::Egress& egress) {
  return taken.nothing() && !request.by_base_url && request.grant->binding.anonymous &&
         egress.permits(request.upstream.host, request.upstream.port);
}

void remember_token(const TokenRef& token, Request& request) {
  request.token = token;
  request.token_ids = token->ids;
  request.not_after = token::not_after(token->token);
  request.pool_key = request.upstream.authority() + (request.upstream.tls ? "\n" : "\nclear\n") + request.credential() +
                     "\n" + hex(token->token.tag);
}

Refusal invalid_token() {
  return {401, "token_invalid", "the token is malformed, or of another session",
          "use the token that this session put into the environment"};
}

}  // namespace

std::optional<Refusal> authenticate_proxy(SessionState& session, const TokenRef& implied, Request& request) {
  auto& fields = request.head.fields;
  TakenTokens taken;
  for (const auto& field : fields.list()) {
    if (!equal_ignoring_case(field.name, kProxyAuthorization)) continue;
    auto found = tokens_of_authorization(field.value);
    taken.foreign = taken.foreign || found.foreign;
    taken.tokens.insert(taken.tokens.end(), found.tokens.begin(), found.tokens.end());
  }
  fields.remove(kProxyAuthorization);
  TokenRef verified = taken.nothing() ? implied : nullptr;
  if (taken.tokens.size() == 1 && !taken.foreign) verified = session.verify(taken.tokens.front());
  if (!verified) {
    return Refusal{407, "proxy_authorization", "the proxy asks for this session's token",
                   "use the proxy URL in HTTPS_PROXY as it is, with its user and password"};
  }
  remember_token(verified, request);
  return std::nullopt;
}

std::optional<Refusal> authenticate(SessionState& session, const policy::Egress& egress, Request& request) {
  remove_overrides(request.head.fields);
  if (auto refusal = choose_grant(session, request)) return refusal;
  const auto& binding = request.grant->binding;
  request.upstream = net::Endpoint::of(binding.origin, binding.ca_pem);
  if (!binding.opaque_slashes && request.target.path.find("%2F") != std::string::npos) {
    return Refusal{400, "bad_target", "an encoded slash in the path", "send the path in its plain, normal form"};
  }
  TakenTokens taken;
  if (auto refusal = take_tokens(binding, request, taken)) return refusal;
  if (may_go_bare(request, taken, egress)) {
    if (has_stray_token(request)) return misplaced();
    request.grant = nullptr;
    return std::nullopt;
  }
  if (taken.tokens.size() > 1) {
    return Refusal{401, "two_tokens", "the request carries more than one token", "send one"};
  }
  if (taken.foreign) {
    return Refusal{401, "foreign_authorization",
                   "the request carries an authorization that is not this session's token",
                   "send the token from the environment, and no key of your own"};
  }
  if (taken.misplaced) return misplaced();
  if (taken.tokens.empty()) {
    return Refusal{401, "token_missing", "the request carries no token",
                   "send the token from the credential's environment variable, as you would send the key"};
  }
  const auto verified = session.verify(taken.tokens.front());
  if (!verified) return invalid_token();
  if (has_stray_token(request)) return misplaced();
  remember_token(verified, request);
  return std::nullopt;
}

std::optional<Refusal> authenticate_plain(Request& request) {
  remove_overrides(request.head.fields);
  bool carries_token = has_stray_token(request);
  for (const auto& field : request.head.fields.list()) {
    // Basic authorization hides one.
    const auto taken = tokens_of_authorization(field.value);
    carries_token = carries_token || !taken.tokens.empty() || taken.misplaced;
  }
  if (!carries_token) return std::nullopt;
  return Refusal{403, "token_misplaced", "no credential of this session is bound to " + request.upstream.authority(),
                 "tokens go only to the hosts of granted credentials, over https"};
}

}  // namespace agentvault::broker
