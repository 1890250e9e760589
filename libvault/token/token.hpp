// Tokens: what an agent holds instead of a key (schemas/token.md). A macaroon: a chain of HMACs over caveats, which a
// holder can lengthen offline and never shorten. A token is no secret of the vault's: strings are fine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/bytes.hpp"
#include "base/crypto.hpp"
#include "http/path_pattern.hpp"

namespace agentvault::token {

inline constexpr std::size_t kIdSize = 8;
inline constexpr std::size_t kDelegationIdSize = 16;

struct NotAfter {
  std::uint64_t unix_seconds;
};
struct Credential {
  std::string name;  // "": of none, only for what goes without a credential
};
struct Methods {
  std::vector<std::string> methods;
};
struct Paths {
  std::vector<http::PathPattern> patterns;
};
/// Random, one for every attenuation, so that each link can be revoked alone.
struct Delegation {
  Bytes id;  // kDelegationIdSize bytes
};
/// A name that the holder gave to whom it handed the token on. For the log; grants nothing.
struct AgentName {
  std::string name;
};

/// How many requests may be made together with all tokens that have the delegation before it (without one: this token),
/// and with all that are made from them.
struct Budget {
  std::uint64_t requests;
};
struct Credentials {
  std::vector<std::string> names;
};
/// How often it may be handed on: so many delegations may stand behind this.
struct Depth {
  std::uint64_t left;
};

/// All of them must hold. A kind that this program does not know makes the token unreadable, never wider.
using Caveat = std::variant<NotAfter, Credential, Methods, Paths, Delegation, AgentName, Budget, Credentials, Depth>;

struct Token {
  std::uint64_t generation = 0;  // of the master key, when the session began
  Bytes session;                 // kIdSize bytes
  Bytes id;                      // kIdSize bytes
  std::vector<Caveat> caveats;
  Digest tag{};
};

inline constexpr std::string_view kPrefix = "agv_";
inline constexpr std::size_t kMaxText = 4096;
inline constexpr std::size_t kMaxCaveats = 64;

Token mint(const SecretBytes& session_key, std::uint64_t generation, const Bytes& session, std::vector<Caveat> caveats);
/// Needs no key. Throws Error(usage) past kMaxCaveats.
Token attenuate(Token token, const std::vector<Caveat>& caveats);

std::string encode(const Token& token);
/// Accepts only what encode() writes. Nothing for everything else.
std::optional<Token> decode(std::string_view text);

/// Whether the chain was started with this key. Constant time.
bool verify(const SecretBytes& session_key, const Token& token);

/// The earliest end that a caveat sets, in Unix seconds.
std::optional<std::uint64_t> not_after(const Token& token);

/// What a request is, as far as caveats ask.
struct Facts {
  std::uint64_t unix_seconds;
  std::string_view credential;
  std::string_view method;
  std::string_view path;
};
enum class Unmet { expired, other_credential, method, path, depth };
/// The first caveat that does not hold.
std::optional<Unmet> first_unmet(const Token& token, const Facts& facts);

}  // namespace agentvault::token
