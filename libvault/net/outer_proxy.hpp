// The proxy that exec itself was started with (HTTPS_PROXY, NO_PROXY): where there is one, upstreams are reached
// through it, since there may be no other way out.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/secret_bytes.hpp"
#include "net/origin.hpp"

namespace agentvault::net {

class OuterProxy {
 public:
  /// As a variable of the environment, or null.
  using Lookup = std::function<const char*(const char* name)>;

  /// Nothing: there is none. Throws Error(usage) for one that cannot be used (socks, or over TLS).
  static std::optional<OuterProxy> from_environment(const Lookup& variable);

  /// Whether this host is to be dialled directly (NO_PROXY: names, ".suffix", "*", each with an optional port).
  bool bypassed_for(const std::string& host, std::uint16_t port) const;

  const std::string& host() const { return host_; }
  std::uint16_t port() const { return port_; }
  /// "CONNECT host:port HTTP/1.1 ...": what it is to be sent.
  SecretBytes connect_request(const std::string& host, std::uint16_t port) const;

 private:
  std::string host_;
  std::uint16_t port_ = 0;
  SecretBytes authorization_;  // base64 of "user:password", or nothing
  std::vector<std::string> bypassed_;
};

}  // namespace agentvault::net
