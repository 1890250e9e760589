#include "provider/injection.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "http/fields.hpp"

namespace agentvault::provider {
namespace {

[[noreturn]] void bad(std::string_view text) {
  throw Error(ErrorKind::usage, "unknown injection \"" + printable(text) + "\"",
              "use bearer, header:NAME[:TEMPLATE with {}], query:FIELD, basic:user, basic:pass, path:/TEMPLATE with {} "
              "or body:/POINTER");
}

Injection parse_basic(std::string_view text) {
  const auto rest = text.substr(std::string_view("basic:").size());
  const auto side = rest.substr(0, rest.find(':'));
  const auto other = side.size() < rest.size() ? rest.substr(side.size() + 1) : std::string_view();
  if (!http::is_field_value(other) || (side != "user" && side != "pass")) bad(text);
  // A user name ends at the first colon (RFC 7617).
  if (side == "pass" && other.find(':') != std::string_view::npos) bad(text);
  return {{Place::Kind::basic, "", ""}, side == "user", std::string(other)};
}

}  // namespace

Injection Injection::parse(std::string_view text) {
  if (text.starts_with("basic:")) return parse_basic(text);
  if (text == "basic" || text == "token") bad(text);
  try {
    return {Place::parse(text), false, ""};
  } catch (const Error&) {
    bad(text);
  }
}

std::string Injection::text() const {
  if (place.kind != Place::Kind::basic) return place.text();
  return std::string("basic:") + (secret_is_user ? "user" : "pass") + (other_side.empty() ? "" : ":" + other_side);
}

}  // namespace agentvault::provider
