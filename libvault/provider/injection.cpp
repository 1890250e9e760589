#include "provider/injection.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "http/fields.hpp"

namespace agentvault::provider {
namespace {

[[noreturn]] void bad(std::string_view text) {
  throw Error(ErrorKind::usage, "unknown injection \"" + printable(text) + "\"",
              "use bearer, header:NAME[:TEMPLATE with {}], query:FIELD, basic:user or basic:pass");
}

/// Up to the next colon; the rest may hold more.
std::string take(std::string_view& rest) {
  const auto colon = rest.find(':');
  std::string part(rest.substr(0, colon));
  rest = colon == std::string_view::npos ? std::string_view() : rest.substr(colon + 1);
  return part;
}

/// Fields that say how a message travels: a secret there would break it or go elsewhere.
bool is_reserved_header(const std::string& name) {
  for (const char* reserved : {"host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade",
                               "expect", "accept-encoding", "content-encoding", "cookie", "referer", "user-agent"}) {
    if (equal_ignoring_case(name, reserved)) return true;
  }
  return false;
}

Injection header_injection(std::string_view text, std::string_view rest) {
  Injection injection{Injection::Kind::header, take(rest), std::string(rest)};
  if (!http::is_token(injection.name) || is_reserved_header(injection.name)) bad(text);
  if (injection.pattern.empty()) injection.pattern = "{}";
  const auto place = injection.pattern.find("{}");
  const bool once = place != std::string::npos && injection.pattern.find("{}", place + 2) == std::string::npos;
  if (!once || !http::is_field_value(injection.pattern)) bad(text);
  return injection;
}

}  // namespace

Injection Injection::parse(std::string_view text) {
  std::string_view rest = text;
  const std::string kind = take(rest);
  if (text == "bearer") return {};
  if (kind == "header") return header_injection(text, rest);
  if (kind == "query") {
    if (!http::is_token(rest)) bad(text);
    return {Kind::query, std::string(rest), ""};
  }
  if (kind == "basic") {
    const std::string side = take(rest);
    if (!http::is_field_value(rest) || (side != "user" && side != "pass")) bad(text);
    if (side == "pass" && rest.find(':') != std::string_view::npos) bad(text);
    return {side == "user" ? Kind::basic_user : Kind::basic_pass, "", std::string(rest)};
  }
  bad(text);
}

std::string Injection::text() const {
  const std::string behind = pattern.empty() ? "" : ":" + pattern;
  switch (kind) {
    case Kind::bearer:
      return "bearer";
    case Kind::header:
      return "header:" + name + (pattern == "{}" ? "" : behind);
    case Kind::query:
      return "query:" + name;
    case Kind::basic_user:
      return "basic:user" + behind;
    case Kind::basic_pass:
      return "basic:pass" + behind;
  }
  return {};
}

}  // namespace agentvault::provider
