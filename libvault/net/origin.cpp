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

Origin Origin::parse(std::string_view text) {
  Origin origin;
  std::string_view rest = text;
  if (rest.substr(0, 7) == "http://") {
    throw Error(ErrorKind::usage, "http:// would send the secret in clear", "use https://");
  }
  if (rest.substr(0, 8) != "https://") bad(text);
  rest.remove_prefix(8);
  std::string_view port;
  if (!rest.empty() && rest.front() == '[') {
    const auto end = rest.find(']');
    if (end == std::string_view::npos) bad(text);
    origin.host = rest.substr(1, end - 1);
    rest.remove_prefix(end + 1);
    if (!Address::parse_literal(origin.host, 0) || origin.host.find(':') == std::string::npos) bad(text);
    if (!rest.empty() && rest.front() != ':') bad(text);
    port = rest;
  } else {
    origin.host = lower(rest.substr(0, rest.find(':')));
    port = rest.substr(origin.host.size());
    if (!valid_host_name(origin.host) && !Address::parse_literal(origin.host, 0)) bad(text);
  }
  if (!port.empty()) {
    const auto number = parse_unsigned(port.substr(1));
    if (!number || *number == 0 || *number > 65535) bad(text);
    origin.port = static_cast<std::uint16_t>(*number);
  }
  return origin;
}

std::string Origin::text() const {
  return "https://" + authority();
}

std::string Origin::authority() const {
  std::string out = host.find(':') != std::string::npos ? "[" + host + "]" : host;
  if (port != kDefaultPort) out += ":" + std::to_string(port);
  return out;
}

bool Origin::names_local_address() const {
  if (host == "localhost") return true;
  const auto address = Address::parse_literal(host, port);
  return address && classify(*address) == AddressClass::local;
}

}  // namespace agentvault::net
