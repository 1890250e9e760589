#include <algorithm>
#include <array>

#include "base/encoding.hpp"
#include "base/text.hpp"
#include "broker/stages.hpp"

namespace agentvault::broker {
namespace {

using provider::Injection;

/// Where clients put keys, whatever the binding says about where the real one goes (reference: SDKs of the providers).
constexpr std::array kKeyHeaders{"x-api-key", "x-goog-api-key", "api-key", "private-token"};

constexpr std::array kOverrides{"x-http-method-override",
                                "x-http-method",
                                "x-method-override",
                                "x-original-url",
                                "x-rewrite-url",
                                "x-original-host",
                                "x-forwarded-host",
                                "x-forwarded-method",
                                "x-forwarded-uri",
                                "x-forwarded-prefix",
                                "x-host",
                                "forwarded"};

bool same_name(std::string_view sent, std::string_view listed) {
  return sent.size() == listed.size() && std::equal(sent.begin(), sent.end(), listed.begin(), [](char a, char b) {
           return (a == '_' ? '-' : to_lower(a)) == (b == '_' ? '-' : b);
         });
}

Refusal foreign() {
  return {401, "foreign_authorization", "the request carries an authorization that is not this session's token",
          "send the token from the environment, and no key of your own"};
}

/// Everything in the request that claims to authorize it.
struct Found {
  std::vector<std::string> tokens;
  bool foreign = false;

  void add(std::string_view value) {
    if (value.starts_with(token::kPrefix)) {
      tokens.emplace_back(value);
    } else {
      foreign = true;
    }
  }
};

/// The part of `value` that stands where the pattern has "{}"; the whole value where the pattern does not fit.
std::string_view inside_pattern(std::string_view value, std::string_view pattern) {
  const auto place = pattern.find("{}");
  if (place == std::string_view::npos) return value;
  const auto before = pattern.substr(0, place);
  const auto behind = pattern.substr(place + 2);
  if (value.size() < before.size() + behind.size() || !value.starts_with(before) || !value.ends_with(behind))
    return value;
  return value.substr(before.size(), value.size() - before.size() - behind.size());
}

void take_basic(std::string_view encoded, Request& request, Found& found) {
  const auto bytes = unbase64(encoded);
  const std::string pair = bytes ? std::string(as_text(*bytes)) : std::string();
  const auto colon = pair.find(':');
  if (colon == std::string::npos) {
    found.foreign = true;
    return;
  }
  request.basic_user = pair.substr(0, colon);
  request.basic_pass = pair.substr(colon + 1);
  // One side is the token; the other one is a user name, or empty.
  const bool user_is_token = request.basic_user.starts_with(token::kPrefix);
  const bool pass_is_token = request.basic_pass.starts_with(token::kPrefix);
  if (user_is_token) found.add(request.basic_user);
  if (pass_is_token) found.add(request.basic_pass);
  found.foreign = found.foreign || (!user_is_token && !pass_is_token);
}

void take_authorization(const std::string& value, const std::string& pattern, Request& request, Found& found) {
  const auto space = value.find(' ');
  const auto scheme = std::string_view(value).substr(0, space);
  const auto rest = space == std::string::npos ? std::string_view() : trim(std::string_view(value).substr(space + 1));
  if (equal_ignoring_case(scheme, "basic")) {
    take_basic(rest, request, found);
  } else if (rest.starts_with(token::kPrefix) &&
             (equal_ignoring_case(scheme, "bearer") || equal_ignoring_case(scheme, "token"))) {
    found.add(rest);
  } else {
    found.add(inside_pattern(value, pattern));
  }
}

/// As an upstream reads the name of a query field: escapes and '+' decoded.
std::string decoded_name(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = text[i] == '%' && i + 2 < text.size() ? unhex(text.substr(i + 1, 2)) : std::nullopt;
    if (byte) i += 2;
    out.push_back(byte ? static_cast<char>((*byte)[0]) : text[i] == '+' ? ' ' : text[i]);
  }
  return out;
}

/// Takes every field of this name out of the query; their values, as sent (tokens need no escapes).
std::vector<std::string> take_query_field(http::Target& target, const std::string& name) {
  std::vector<std::string> values;
  std::string kept;
  for (auto part : split(target.query, '&')) {
    if (decoded_name(part.substr(0, part.find('='))) == name) {
      const auto equals = part.find('=');
      values.emplace_back(equals == std::string_view::npos ? std::string_view() : part.substr(equals + 1));
    } else {
      kept += (kept.empty() ? "" : "&") + std::string(part);
    }
  }
  if (!values.empty()) {
    target.query = kept;
    target.has_query = !kept.empty();
  }
  return values;
}

Found take_all(Request& request) {
  const Injection& inject = request.grant->binding.inject;
  const std::string own_header = inject.kind == Injection::Kind::header ? inject.name : std::string();
  auto& fields = request.head.fields;
  Found found;
  for (const auto& field : fields.list()) {
    if (same_name(field.name, "authorization")) {
      const bool own = equal_ignoring_case(own_header, "authorization");
      take_authorization(field.value, own ? inject.pattern : std::string(), request, found);
      continue;
    }
    for (const auto* name : kKeyHeaders) {
      if (same_name(field.name, name) && !equal_ignoring_case(own_header, name)) found.add(field.value);
    }
    if (same_name(field.name, lower(own_header))) found.add(inside_pattern(field.value, inject.pattern));
  }
  remove_authorization(fields, request.grant->binding);
  for (const auto& name : request.grant->binding.query_places()) {
    for (const auto& value : take_query_field(request.target, name)) found.add(value);
  }
  return found;
}

/// A token where the binding does not expect one would reach the upstream, and its log.
bool has_stray_token(const Request& request) {
  if (request.target.text().find(token::kPrefix) != std::string::npos) return true;
  for (const auto& field : request.head.fields.list()) {
    if (field.value.find(token::kPrefix) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

void remove_authorization(http::Fields& fields, const provider::Binding& binding) {
  std::vector<std::string> names{"authorization"};
  if (binding.inject.kind == Injection::Kind::header) names.push_back(lower(binding.inject.name));
  names.insert(names.end(), kKeyHeaders.begin(), kKeyHeaders.end());
  std::erase_if(fields.list(), [&](const auto& field) {
    return std::any_of(names.begin(), names.end(), [&](const auto& name) { return same_name(field.name, name); });
  });
}

void remove_overrides(http::Fields& fields) {
  std::erase_if(fields.list(), [](const auto& field) {
    return std::any_of(kOverrides.begin(), kOverrides.end(),
                       [&](const char* name) { return same_name(field.name, name); });
  });
}

std::optional<Refusal> authenticate(SessionState& session, Request& request) {
  remove_overrides(request.head.fields);
  // Where a key stands in the query, ';' would be a separator for some servers and none for others.
  if (!request.grant->binding.query_places().empty() && request.target.query.find(';') != std::string::npos) {
    return Refusal{400, "bad_target", "a semicolon in the query of a credential that is sent there", "write it as %3B"};
  }
  const Found found = take_all(request);
  if (found.tokens.size() > 1) {
    return Refusal{401, "two_tokens", "the request carries more than one token", "send one"};
  }
  if (found.foreign) return foreign();
  if (found.tokens.empty()) {
    return Refusal{401, "token_missing", "the request carries no token",
                   "send the token from the credential's environment variable, as you would send the key"};
  }
  request.token = session.verify(found.tokens.front());
  if (request.token == nullptr) {
    return Refusal{401, "token_invalid", "the token is malformed, or of another session",
                   "use the token that this session put into the environment"};
  }
  if (has_stray_token(request)) {
    return Refusal{400, "token_misplaced", "a token stands where this credential does not expect one",
                   "send it only in the place where the key would go"};
  }
  request.token_ids = request.token->ids;
  request.not_after = token::not_after(request.token->token);
  request.pool_key = request.grant->name + "\n" + hex(request.token->token.tag);
  return std::nullopt;
}

}  // namespace agentvault::broker
