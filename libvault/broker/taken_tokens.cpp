#include "broker/taken_tokens.hpp"

#include <algorithm>
#include <array>

#include "base/encoding.hpp"
#include "base/text.hpp"
#include "broker/json_body.hpp"

namespace agentvault::broker {
namespace {

using namespace std::string_view_literals;
using provider::Place;

/// Where clients put keys, whatever the binding says: elsewhere they would reach the upstream (reference: SDKs of the
/// providers).
constexpr std::array kKeyHeaders{"x-api-key"sv, "x-goog-api-key"sv, "api-key"sv, "private-token"sv};

constexpr std::array kOverrides{"x-http-method-override"sv,
                                "x-http-method"sv,
                                "x-method-override"sv,
                                "x-original-url"sv,
                                "x-rewrite-url"sv,
                                "x-original-host"sv,
                                "x-forwarded-host"sv,
                                "x-forwarded-method"sv,
                                "x-forwarded-uri"sv,
                                "x-forwarded-prefix"sv,
                                "x-host"sv,
                                "forwarded"sv};

/// By whatever name servers and stores know it.
constexpr std::array kRanges{"range"sv,      "if-range"sv,          "request-range"sv,           "x-range"sv,
                             "x-ms-range"sv, "x-ms-source-range"sv, "x-amz-copy-source-range"sv, "x-goog-range"sv};

/// Ours to say.
constexpr std::array kWrittenAnew{"host"sv, "content-length"sv, "expect"sv, "accept-encoding"sv};

/// Four letters may stand in any path or cookie; what follows them in a token is much longer.
constexpr std::size_t kShortestTokenBody = 32;
/// Where the characters of base64url end.
std::size_t end_of_token(std::string_view text, std::size_t begin) {
  const auto is_part = [](char c) { return is_alphanumeric(c) || c == '-' || c == '_'; };
  return static_cast<std::size_t>(
      std::find_if_not(text.begin() + static_cast<std::ptrdiff_t>(begin), text.end(), is_part) - text.begin());
}

bool is_token_of_ours(std::string_view value) {
  return value.starts_with(token::kPrefix);
}

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

/// What a request is searched with, and what was found so far.
class Taker {
 public:
  Taker(std::vector<Place> places, Request& request, TakenTokens& taken)
      : places_(std::move(places)), request_(request), taken_(taken) {}

  void take_field(const http::Field& field) {
    const bool is_authorization = http::same_field_name(field.name, "authorization");
    if (is_authorization && take_authorization(field.value)) return;
    if (const auto* place = header_place(field)) return note(inside_pattern(field.value, place->pattern), true);
    const bool is_key = std::any_of(kKeyHeaders.begin(), kKeyHeaders.end(),
                                    [&](auto name) { return http::same_field_name(field.name, name); });
    if (is_authorization || is_key) note(field.value, false);
  }

  void note(std::string_view value, bool expected) {
    if (!is_token_of_ours(value)) {
      taken_.foreign = true;
    } else if (expected) {
      taken_.tokens.emplace_back(value);
    } else {
      taken_.misplaced = true;
    }
  }

  const std::vector<Place>& places() const { return places_; }

 private:
  bool accepts(Place::Kind kind) const {
    return std::any_of(places_.begin(), places_.end(), [&](const Place& place) { return place.kind == kind; });
  }

  /// A place of this header; of several (with other templates) the one that fits a token.
  const Place* header_place(const http::Field& field) const {
    const Place* found = nullptr;
    for (const auto& place : places_) {
      if (place.kind != Place::Kind::header || !http::same_field_name(field.name, place.name)) continue;
      if (is_token_of_ours(inside_pattern(field.value, place.pattern))) return &place;
      found = &place;
    }
    return found;
  }

  /// Whether it was in one of the standard forms (RFC 7617, RFC 6750, and "token" as GitHub's clients send it).
  bool take_authorization(const std::string& value) {
    const auto space = value.find(' ');
    const auto scheme = std::string_view(value).substr(0, space);
    const auto rest = space == std::string::npos ? std::string_view() : trim(std::string_view(value).substr(space + 1));
    if (equal_ignoring_case(scheme, "basic")) {
      take_basic(rest);
      return true;
    }
    const bool bearer = equal_ignoring_case(scheme, "bearer") || equal_ignoring_case(scheme, "token");
    if (!bearer || !is_token_of_ours(rest)) return false;
    if (!accepts(Place::Kind::bearer) && header_place({"authorization", value}) != nullptr) return false;
    note(rest, accepts(Place::Kind::bearer));
    return true;
  }

  void take_basic(std::string_view encoded) {
    const auto bytes = unbase64(encoded);
    const std::string pair = bytes ? std::string(as_text(*bytes)) : std::string();
    const auto colon = pair.find(':');
    if (colon == std::string::npos) {
      taken_.foreign = true;
      return;
    }
    request_.basic_user = pair.substr(0, colon);
    request_.basic_pass = pair.substr(colon + 1);
    // One side is the token; the other one is a user name, or empty.
    const bool user_is_token = is_token_of_ours(request_.basic_user);
    const bool pass_is_token = is_token_of_ours(request_.basic_pass);
    if (user_is_token) note(request_.basic_user, accepts(Place::Kind::basic));
    if (pass_is_token) note(request_.basic_pass, accepts(Place::Kind::basic));
    taken_.foreign = taken_.foreign || (!user_is_token && !pass_is_token);
  }

  std::vector<Place> places_;
  Request& request_;
  TakenTokens& taken_;
};

/// Takes every field of this name out of the query; their values, as sent (tokens need no escapes).
std::vector<std::string> take_query_field(http::Target& target, const std::string& name) {
  std::vector<std::string> values;
  std::string kept;
  for (auto part : split(target.query, '&')) {
    if (form_decoded(part.substr(0, part.find('='))) == name) {
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

std::optional<Refusal> take_from_query(const std::string& name, Request& request, Taker& taker) {
  // ';' would be a separator for some servers and none for others.
  if (request.target.query.find(';') != std::string::npos) {
    return Refusal{400, "bad_target", "a semicolon in the query of a credential that is sent there", "write it as %3B"};
  }
  for (const auto& value : take_query_field(request.target, name)) taker.note(value, true);
  return std::nullopt;
}

/// "/bot{}": takes the token out of "/bot<token>/method" and leaves "/bot/method", which is what rules are judged on.
/// A path that has no token there stays as it is; the token may stand elsewhere.
std::optional<Refusal> take_from_path(const std::string& base, const std::string& pattern, Request& request,
                                      Taker& taker) {
  const auto place = pattern.find("{}");
  const std::string before = base + pattern.substr(0, place);
  const std::string behind = pattern.substr(place + 2);
  std::string& path = request.target.path;
  if (!path.starts_with(before)) {
    return Refusal{403, "outside_base", "the path is not under " + before, "this credential's key stands in the path"};
  }
  request.path_hole = before.size();
  const auto segment_end = std::min(path.find('/', before.size()), path.size());
  if (path.compare(before.size(), token::kPrefix.size(), token::kPrefix) == 0) {
    const auto end = segment_end - (path.substr(0, segment_end).ends_with(behind.substr(0, behind.find('/')))
                                        ? std::min(behind.find('/'), behind.size())
                                        : 0);
    taker.note(std::string_view(path).substr(before.size(), end - before.size()), true);
    path.erase(before.size(), end - before.size());
  }
  const std::size_t rest = before.size() + behind.size();
  if (path.compare(before.size(), behind.size(), behind) != 0 || (rest < path.size() && path[rest] != '/')) {
    return Refusal{403, "outside_base", "the path does not fit " + base + pattern, "put the token where the key goes"};
  }
  return std::nullopt;
}

std::optional<Refusal> take_from_body(const std::string& pointer, Request& request, Taker& taker) {
  auto cut = cut_text_out(request.body, pointer);
  if (const auto* reason = std::get_if<BadJson>(&cut)) {
    return Refusal{400, "bad_body", "the body is refused: " + reason->reason,
                   "this credential's key stands in a JSON body at " + pointer};
  }
  auto& text = std::get<CutText>(cut);
  if (!text.value.empty()) taker.note(text.value, true);
  request.body_around = {std::move(text.before), std::move(text.behind)};
  return std::nullopt;
}

}  // namespace

std::optional<Refusal> take_tokens(const provider::Binding& binding, Request& request, TakenTokens& taken) {
  Taker taker(binding.places(), request, taken);
  for (const auto& field : request.head.fields.list()) taker.take_field(field);
  remove_authorization(request.head.fields, &binding);
  for (const auto& place : taker.places()) {
    std::optional<Refusal> refusal;
    if (place.kind == Place::Kind::query) refusal = take_from_query(place.name, request, taker);
    if (place.kind == Place::Kind::path) refusal = take_from_path(binding.base, place.pattern, request, taker);
    if (place.kind == Place::Kind::body) refusal = take_from_body(place.name, request, taker);
    if (refusal) return refusal;
  }
  return std::nullopt;
}

bool holds_token(std::string_view text) {
  const auto stands_in = [](std::string_view plain) {
    for (auto at = plain.find(token::kPrefix); at != std::string_view::npos; at = plain.find(token::kPrefix, at + 1)) {
      const auto begin = at + token::kPrefix.size();
      if (end_of_token(plain, begin) - begin >= kShortestTokenBody) return true;
    }
    return false;
  };
  return stands_in(text) || (text.find('%') != std::string_view::npos && stands_in(form_decoded(text)));
}

std::string without_tokens(std::string text) {
  for (auto at = text.find(token::kPrefix); at != std::string::npos; at = text.find(token::kPrefix, at + 1)) {
    const auto begin = at + token::kPrefix.size();
    const auto end = end_of_token(text, begin);
    if (end - begin >= kShortestTokenBody) text.replace(begin, end - begin, "...");
  }
  return text;
}

TakenTokens tokens_of_authorization(const std::string& value) {
  Request scratch;
  TakenTokens taken;
  Taker({{Place::Kind::bearer, "", ""}, {Place::Kind::basic, "", ""}}, scratch, taken)
      .take_field({"authorization", value});
  return taken;
}

void remove_authorization(http::Fields& fields, const provider::Binding* binding) {
  fields.remove("authorization"sv);
  fields.remove(kKeyHeaders);
  if (binding == nullptr) return;
  for (const auto& place : binding->places()) {
    if (place.kind == Place::Kind::header) fields.remove(place.name);
  }
}

void remove_what_is_ours(http::Fields& fields, bool with_secret) {
  http::remove_hop_by_hop(fields);
  fields.remove(kWrittenAnew);
  if (with_secret) fields.remove(kRanges);
}

void remove_overrides(http::Fields& fields) {
  fields.remove(kOverrides);
}

}  // namespace agentvault::broker
