#include "net/outer_proxy.hpp"

#include <algorithm>

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "net/address.hpp"

namespace agentvault::net {
namespace {

constexpr std::uint16_t kDefaultPort = 80;  // of an http:// URL

[[noreturn]] void unusable(const std::string& variable, const std::string& why) {
  throw Error(ErrorKind::usage, variable + " names a proxy that cannot be used: " + why,
              "set it to http://host:port, or unset it");
}

/// One entry of NO_PROXY.
bool names(std::string_view entry, const std::string& host, std::uint16_t port) {
  if (entry == "*") return true;
  if (entry.starts_with('*')) entry.remove_prefix(1);
  if (entry.starts_with('.')) entry.remove_prefix(1);
  // An IPv6 literal may stand there without brackets.
  const auto named = Address::parse_literal(std::string(entry), 0) ? Authority{std::string(entry), std::nullopt}
                                                                   : parse_authority(entry).value_or(Authority{});
  if (named.host.empty() || (named.port && *named.port != port)) return false;
  return host == named.host || host.ends_with("." + named.host);
}

}  // namespace

std::optional<OuterProxy> OuterProxy::from_environment(const Lookup& variable) {
  for (const char* name : {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"}) {
    const char* value = variable(name);
    if (value == nullptr || *value == '\0') continue;
    std::string_view rest = value;
    if (const auto scheme = rest.find("://"); scheme != std::string_view::npos) {
      if (!equal_ignoring_case(rest.substr(0, scheme), "http")) {
        unusable(name, "only http:// is spoken with a proxy");
      }
      rest.remove_prefix(scheme + 3);
    }
    rest = rest.substr(0, rest.find_first_of("/?#"));
    OuterProxy proxy;
    if (const auto at = rest.rfind('@'); at != std::string_view::npos) {
      proxy.authorization_ = base64_secret(as_bytes(percent_decoded(rest.substr(0, at))));
      rest.remove_prefix(at + 1);
    }
    const auto authority = parse_authority(rest);
    if (!authority) unusable(name, "it is no host and port");
    proxy.host_ = authority->host;
    proxy.port_ = authority->port.value_or(kDefaultPort);
    for (const char* list : {"no_proxy", "NO_PROXY"}) {
      const char* entries = variable(list);
      for (auto entry : split(entries != nullptr ? entries : "", ',')) proxy.bypassed_.emplace_back(trim(entry));
    }
    return proxy;
  }
  return std::nullopt;
}

bool OuterProxy::bypassed_for(const std::string& host, std::uint16_t port) const {
  return std::any_of(bypassed_.begin(), bypassed_.end(), [&](const auto& entry) { return names(entry, host, port); });
}

SecretBytes OuterProxy::connect_request(const std::string& host, std::uint16_t port) const {
  const std::string target = bracketed(host) + ":" + std::to_string(port);
  auto out = SecretBytes::copy_of(as_bytes("CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n"));
  if (!authorization_.empty()) {
    out.append(as_bytes("Proxy-Authorization: Basic "));
    out.append(authorization_.reveal());
    out.append(as_bytes("\r\n"));
  }
  out.append(as_bytes("\r\n"));
  return out;
}

}  // namespace agentvault::net
