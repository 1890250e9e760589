// Finds everything in a request that claims to authorize it, and takes it out.
#pragma once

#include <string>
#include <vector>

#include "broker/refusal.hpp"
#include "broker/request.hpp"

namespace agentvault::broker {

struct TakenTokens {
  std::vector<std::string> tokens;  // where the binding expects one
  bool foreign = false;             // an authorization that is none of ours
  bool misplaced = false;           // a token of ours where this binding expects none

  bool nothing() const { return tokens.empty() && !foreign && !misplaced; }
};

/// Also fills in what injection needs to know of the place: the other side of Basic, the hole in path or body. A
/// refusal: the place itself is malformed.
std::optional<Refusal> take_tokens(const provider::Binding& binding, Request& request, TakenTokens& taken);

/// "Basic base64(user:token)", "Bearer token", "token token": for Proxy-Authorization.
TakenTokens tokens_of_authorization(const std::string& value);

/// Whether one of our tokens stands in the text, as it is or percent-encoded.
bool holds_token(std::string_view text);
/// For the log: "agv_..." in place of each.
std::string without_tokens(std::string text);

/// Takes out what claims to authorize, under every name that clients and this binding use.
void remove_authorization(http::Fields& fields, const provider::Binding* binding);
/// Takes out what would make an upstream obey another method, path or host than the one that was judged. Some stacks
/// read `_` in a name as `-`.
void remove_overrides(http::Fields& fields);
/// What is the broker's own to say to the upstream, in a head as in a trailer; with a secret, also what asks for parts
/// of an answer: by ranges an agent could have a secret that comes back sent in slices too short to be recognised.
void remove_what_is_ours(http::Fields& fields, bool with_secret);

}  // namespace agentvault::broker
