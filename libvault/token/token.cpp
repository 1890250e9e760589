#include "token/token.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "http/fields.hpp"

namespace agentvault::token {
namespace {

using nlohmann::json;

constexpr std::uint64_t kFormat = 1;
constexpr std::size_t kMaxListed = 64;

/// Numbers of schemas/token.md. Never reused.
enum Kind : std::uint64_t {
  kNotAfter = 1,
  kCredential = 2,
  kMethods = 3,
  kPaths = 4,
  kDelegation = 5,
  kAgentName = 6,
  kBudget = 7,
  kCredentials = 8,
  kDepth = 9
};

template <class... T>
struct Overloaded : T... {
  using T::operator()...;
};
template <class... T>
Overloaded(T...) -> Overloaded<T...>;

json to_json(const Caveat& caveat) {
  return std::visit(Overloaded{
                        [](const NotAfter& c) {
                          return json::array({kNotAfter, c.unix_seconds});
                        },
                        [](const Credential& c) {
                          return json::array({kCredential, c.name});
                        },
                        [](const Methods& c) {
                          return json::array({kMethods, c.methods});
                        },
                        [](const Paths& c) {
                          json patterns = json::array();
                          for (const auto& pattern : c.patterns) patterns.push_back(pattern.text());
                          return json::array({kPaths, std::move(patterns)});
                        },
                        [](const Delegation& c) {
                          return json::array({kDelegation, json::binary(c.id)});
                        },
                        [](const AgentName& c) {
                          return json::array({kAgentName, c.name});
                        },
                        [](const Budget& c) {
                          return json::array({kBudget, c.requests});
                        },
                        [](const Credentials& c) {
                          return json::array({kCredentials, c.names});
                        },
                        [](const Depth& c) {
                          return json::array({kDepth, c.left});
                        },
                    },
                    caveat);
}

json header(const Token& token) {
  return json::array({kFormat, token.generation, json::binary(token.session), json::binary(token.id)});
}

std::optional<Bytes> sized_binary(const json& value, std::size_t size) {
  if (!value.is_binary() || value.get_binary().has_subtype() || value.get_binary().size() != size) return std::nullopt;
  return Bytes(value.get_binary());
}

std::optional<std::vector<std::string>> text_list(const json& value) {
  if (!value.is_array() || value.empty() || value.size() > kMaxListed) return std::nullopt;
  std::vector<std::string> out;
  for (const auto& item : value) {
    if (!item.is_string()) return std::nullopt;
    out.push_back(item.get<std::string>());
  }
  return out;
}

std::optional<Caveat> methods_caveat(const json& value) {
  auto methods = text_list(value);
  if (!methods || !std::all_of(methods->begin(), methods->end(), http::is_token)) return std::nullopt;
  return Methods{std::move(*methods)};
}

std::optional<Caveat> paths_caveat(const json& value) {
  const auto texts = text_list(value);
  if (!texts) return std::nullopt;
  Paths paths;
  for (const auto& text : *texts) {
    auto pattern = http::PathPattern::parse(text);
    // Only in its normal form, so that one caveat has one spelling.
    if (!pattern || pattern->text() != text) return std::nullopt;
    paths.patterns.push_back(std::move(*pattern));
  }
  return paths;
}

std::optional<Caveat> credentials_caveat(const json& value) {
  auto names = text_list(value);
  if (!names || !std::all_of(names->begin(), names->end(), valid_name)) return std::nullopt;
  return Credentials{std::move(*names)};
}

std::optional<Caveat> from_json(const json& value) {
  if (!value.is_array() || value.size() != 2 || !value[0].is_number_unsigned()) return std::nullopt;
  const json& content = value[1];
  const bool is_name = content.is_string() && valid_name(content.get_ref<const std::string&>());
  switch (value[0].get<std::uint64_t>()) {
    case kNotAfter:
      if (!content.is_number_unsigned()) return std::nullopt;
      return NotAfter{content.get<std::uint64_t>()};
    case kCredential:
      if (!is_name && content != "") return std::nullopt;
      return Credential{content.get<std::string>()};
    case kMethods:
      return methods_caveat(content);
    case kPaths:
      return paths_caveat(content);
    case kDelegation:
      if (auto id = sized_binary(content, kDelegationIdSize)) return Delegation{std::move(*id)};
      return std::nullopt;
    case kAgentName:
      if (!is_name) return std::nullopt;
      return AgentName{content.get<std::string>()};
    case kBudget:
      if (!content.is_number_unsigned()) return std::nullopt;
      return Budget{content.get<std::uint64_t>()};
    case kCredentials:
      return credentials_caveat(content);
    case kDepth:
      if (!content.is_number_unsigned()) return std::nullopt;
      return Depth{content.get<std::uint64_t>()};
    default:
      return std::nullopt;
  }
}

Digest next_tag(HmacSha256& hmac, const Digest& tag, const Caveat& caveat) {
  return hmac(tag, json::to_cbor(to_json(caveat)));
}

Digest first_tag(HmacSha256& hmac, const SecretBytes& session_key, const Token& token) {
  return hmac(session_key.reveal(), json::to_cbor(header(token)));
}

/// Discarded when it is no CBOR. The library throws for sizes that cannot be, also when told not to.
json parse_cbor(const Bytes& bytes) {
  try {
    return json::from_cbor(bytes, true, false);
  } catch (const json::exception&) {
    return json(json::value_t::discarded);
  }
}

std::optional<Token> from_cbor(const Bytes& bytes) {
  const json value = parse_cbor(bytes);
  if (!value.is_array() || value.size() != 6 || !value[0].is_number_unsigned() || !value[1].is_number_unsigned() ||
      value[0].get<std::uint64_t>() != kFormat || !value[4].is_array() || value[4].size() > kMaxCaveats) {
    return std::nullopt;
  }
  Token token;
  token.generation = value[1].get<std::uint64_t>();
  auto session = sized_binary(value[2], kIdSize);
  auto id = sized_binary(value[3], kIdSize);
  const auto tag = sized_binary(value[5], token.tag.size());
  if (!session || !id || !tag) return std::nullopt;
  token.session = std::move(*session);
  token.id = std::move(*id);
  std::copy(tag->begin(), tag->end(), token.tag.begin());
  for (const auto& item : value[4]) {
    auto caveat = from_json(item);
    if (!caveat) return std::nullopt;
    token.caveats.push_back(std::move(*caveat));
  }
  return token;
}

}  // namespace

Token mint(const SecretBytes& session_key, std::uint64_t generation, const Bytes& session,
           std::vector<Caveat> caveats) {
  Token token;
  token.generation = generation;
  token.session = session;
  token.id = random_bytes(kIdSize);
  HmacSha256 hmac;
  token.tag = first_tag(hmac, session_key, token);
  return attenuate(std::move(token), caveats);
}

Token attenuate(Token token, const std::vector<Caveat>& caveats) {
  if (token.caveats.size() + caveats.size() > kMaxCaveats) {
    throw Error(ErrorKind::usage, "a token holds at most " + std::to_string(kMaxCaveats) + " caveats",
                "start from a token that was narrowed fewer times");
  }
  HmacSha256 hmac;
  for (const auto& caveat : caveats) {
    token.tag = next_tag(hmac, token.tag, caveat);
    token.caveats.push_back(caveat);
  }
  return token;
}

std::string encode(const Token& token) {
  json caveats = json::array();
  for (const auto& caveat : token.caveats) caveats.push_back(to_json(caveat));
  json all = header(token);
  all.push_back(std::move(caveats));
  all.push_back(json::binary(Bytes(token.tag.begin(), token.tag.end())));
  return std::string(kPrefix) + base64url(json::to_cbor(all));
}

std::optional<Token> decode(std::string_view text) {
  if (text.size() > kMaxText || text.substr(0, kPrefix.size()) != kPrefix) return std::nullopt;
  const auto bytes = unbase64url(text.substr(kPrefix.size()));
  if (!bytes) return std::nullopt;
  auto token = from_cbor(*bytes);
  // The parser takes longer spellings of the same value: accept only the one that we write.
  if (!token || encode(*token) != text) return std::nullopt;
  return token;
}

bool verify(const SecretBytes& session_key, const Token& token) {
  HmacSha256 hmac;
  Digest tag = first_tag(hmac, session_key, token);
  for (const auto& caveat : token.caveats) tag = next_tag(hmac, tag, caveat);
  return constant_time_equal(tag, token.tag);
}

std::optional<std::uint64_t> not_after(const Token& token) {
  std::optional<std::uint64_t> earliest;
  for (const auto& caveat : token.caveats) {
    const auto* end = std::get_if<NotAfter>(&caveat);
    if (end != nullptr && (!earliest || end->unix_seconds < *earliest)) earliest = end->unix_seconds;
  }
  return earliest;
}

std::optional<Unmet> first_unmet(const Token& token, const Facts& facts) {
  for (auto at = token.caveats.begin(); at != token.caveats.end(); ++at) {
    const auto unmet = std::visit(
        Overloaded{
            [&](const NotAfter& c) {
              return facts.unix_seconds > c.unix_seconds ? std::optional(Unmet::expired) : std::nullopt;
            },
            [&](const Credential& c) {
              return c.name != facts.credential ? std::optional(Unmet::other_credential) : std::nullopt;
            },
            [&](const Methods& c) {
              const bool listed = std::find(c.methods.begin(), c.methods.end(), facts.method) != c.methods.end();
              return listed ? std::nullopt : std::optional(Unmet::method);
            },
            [&](const Paths& c) {
              const bool listed = std::any_of(c.patterns.begin(), c.patterns.end(),
                                              [&](const auto& pattern) { return pattern.matches(facts.path); });
              return listed ? std::nullopt : std::optional(Unmet::path);
            },
            [](const Delegation&) { return std::optional<Unmet>(); },
            [](const AgentName&) { return std::optional<Unmet>(); },
            [](const Budget&) { return std::optional<Unmet>(); },
            [&](const Credentials& c) {
              const bool listed = std::find(c.names.begin(), c.names.end(), facts.credential) != c.names.end();
              return listed ? std::nullopt : std::optional(Unmet::other_credential);
            },
            [&](const Depth& c) {
              const auto further = std::count_if(at, token.caveats.end(), [](const Caveat& behind) {
                return std::holds_alternative<Delegation>(behind);
              });
              return static_cast<std::uint64_t>(further) > c.left ? std::optional(Unmet::depth) : std::nullopt;
            },
        },
        *at);
    if (unmet) return unmet;
  }
  return std::nullopt;
}

}  // namespace agentvault::token
