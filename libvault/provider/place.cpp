#include "provider/place.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "http/fields.hpp"
#include "http/target.hpp"

namespace agentvault::provider {
namespace {

constexpr std::size_t kMaxPointer = 256;

[[noreturn]] void bad(std::string_view text) {
  throw Error(
      ErrorKind::usage, "not a place for a key: \"" + printable(text) + "\"",
      "use bearer, basic, header:NAME[:TEMPLATE with {}], query:FIELD, path:/TEMPLATE with {} or body:/POINTER");
}

/// Fields that say how a message travels: a secret there would break it or go elsewhere.
bool is_reserved_header(const std::string& name) {
  for (const char* reserved : {"host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade",
                               "expect", "accept-encoding", "content-encoding", "cookie", "referer", "user-agent"}) {
    if (equal_ignoring_case(name, reserved)) return true;
  }
  return false;
}

bool has_one_hole(const std::string& pattern) {
  const auto place = pattern.find("{}");
  return place != std::string::npos && pattern.find("{}", place + 2) == std::string::npos;
}

/// What stands around the hole is one segment's, or whole segments, in normal form.
bool is_path_template(const std::string& pattern) {
  if (!has_one_hole(pattern) || !pattern.starts_with('/')) return false;
  std::string filled = pattern;
  filled.replace(filled.find("{}"), 2, "x");
  const auto parsed = http::parse_target(filled);
  const auto* target = std::get_if<http::Target>(&parsed);
  return target != nullptr && !target->has_query && target->path == filled;
}

/// RFC 6901, section 3.
bool is_pointer(std::string_view text) {
  if (text.size() < 2 || text.size() > kMaxPointer || text.front() != '/') return false;
  for (auto tilde = text.find('~'); tilde != std::string_view::npos; tilde = text.find('~', tilde + 1)) {
    if (tilde + 1 == text.size() || (text[tilde + 1] != '0' && text[tilde + 1] != '1')) return false;
  }
  return true;
}

}  // namespace

Place Place::parse(std::string_view text) {
  const auto colon = text.find(':');
  const auto kind = text.substr(0, colon);
  const std::string rest(colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1));
  if (text == "bearer" || text == "token") return {};
  if (text == "basic") return {Kind::basic, "", ""};
  if (kind == "header") {
    Place place{Kind::header, rest.substr(0, rest.find(':')), ""};
    if (place.name.size() < rest.size()) place.pattern = rest.substr(place.name.size() + 1);
    if (place.pattern.empty()) place.pattern = "{}";
    if (!http::is_token(place.name) || is_reserved_header(place.name)) bad(text);
    if (!has_one_hole(place.pattern) || !http::is_field_value(place.pattern)) bad(text);
    return place;
  }
  if (kind == "query" && http::is_token(rest)) return {Kind::query, rest, ""};
  if (kind == "path" && is_path_template(rest)) return {Kind::path, "", rest};
  if (kind == "body" && is_pointer(rest)) {
    return {Kind::body, rest, ""};
  }
  bad(text);
}

std::string Place::text() const {
  switch (kind) {
    case Kind::bearer:
      return "bearer";
    case Kind::basic:
      return "basic";
    case Kind::header:
      return "header:" + name + (pattern == "{}" ? "" : ":" + pattern);
    case Kind::query:
      return "query:" + name;
    case Kind::path:
      return "path:" + pattern;
    case Kind::body:
      return "body:" + name;
  }
  return {};
}

}  // namespace agentvault::provider
