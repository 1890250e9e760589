#include "net/origin.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/text.hpp"
#include "net/address.hpp"
#include "net/address_guard.hpp"

namespace agentvault::net {
namespace {

[[noreturn]] void bad(std::string_view text) {
  throw Error(ErrorKind::usage, "not an origin: \"" + printable(text) + "\"",
              "write it as https://host or https://host:port");
}

}  // namespace

bool valid_host_name(std::string_view name) {
  if (name.empty() || name.size() > 253) return false;
  const auto labels = split(name, '.');
  const bool sound = std::all_of(labels.begin(), labels.end(), [](std::string_view label) {
    return !label.empty() && label.size() <= 63 && label.front() != '-' && label.back() != '-' &&
           std::all_of(label.begin(), label.end(), [](char c) { return is_alphanumeric(c) || c == '-' || c == '_'; });
  });
  // A last label of digits would be an IPv4 address in one of its odd spellings.
  return sound && !is_digit(labels.back().front());
}

std::optional<Authority> parse_authority(std::string_view text) {
  Authority authority;
  const auto colon = text.rfind(':');
  const bool has_brackets = text.starts_with('[');
  const bool has_port = colon != std::string_view::npos && (!has_brackets || text[colon - 1] == ']');
  std::string_view host = text.substr(0, has_port ? colon : text.size());
  if (has_brackets) {
    if (!host.ends_with(']')) return std::nullopt;
    host = host.substr(1, host.size() - 2);
  }
  authority.host = lower(host);
  // The root of all names may be written; it changes no name.
  if (authority.host.ends_with('.') &&
      valid_host_name(std::string_view(authority.host).substr(0, authority.host.size() - 1))) {
    authority.host.pop_back();
  }
  const bool is_literal = Address::parse_literal(authority.host, 0).has_value();
  const bool is_v6 = is_literal && host.find(':') != std::string_view::npos;
  if (is_v6 != has_brackets || (!is_literal && !valid_host_name(authority.host))) return std::nullopt;
  if (has_port) {
    const auto number = parse_unsigned(text.substr(colon + 1));
    if (!number || *number == 0 || *number > 65535) return std::nullopt;
    authority.port = static_cast<std::uint16_t>(*number);
  }
  return authority;
}

std::string bracketed(const std::string& host) {
  return host.find(':') != std::string::npos ? "[" + host + "]" : host;
}

Origin Origin::parse(std::string_view text) {
  Origin origin;
  std::string_view rest = text;
  if (rest.substr(0, 7) == "http://") {
    throw Error(ErrorKind::usage, "http:// would send the secret in clear", "use https://");
  }
  if (rest.substr(0, 8) != "https://") bad(text);
  rest.remove_prefix(8);
  auto authority = parse_authority(rest);
  if (!authority) bad(text);
  origin.host = std::move(authority->host);
  origin.port = authority->port.value_or(kDefaultPort);
  return origin;
}

std::string Origin::text() const {
  return "https://" + authority();
}

std::string Origin::authority() const {
  std::string out = bracketed(host);
  if (port != kDefaultPort) out += ":" + std::to_string(port);
  return out;
}

bool Origin::names_local_address() const {
  if (host == "localhost") return true;
  const auto address = Address::parse_literal(host, port);
  return address && classify(*address) == AddressClass::local;
}

}  // namespace agentvault::net
