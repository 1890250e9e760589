// An exact origin: https, host, port. What a secret is bound to. There is no other scheme: a secret travels in TLS
// only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace agentvault::net {

struct Origin {
  static constexpr std::uint16_t kDefaultPort = 443;

  std::string host;  // lower case; a name, an IPv4 literal, or an IPv6 literal without brackets
  std::uint16_t port = kDefaultPort;

  /// "https://host[:port]" with nothing behind it. Throws Error(usage).
  static Origin parse(std::string_view text);
  /// As parse() reads it; the default port is left out.
  std::string text() const;
  /// For the Host header: with brackets and without the default port.
  std::string authority() const;
  /// A loopback or private literal, or "localhost": the user named a local address on purpose.
  bool names_local_address() const;

  bool operator==(const Origin&) const = default;
};

/// "host", "host:port", "[v6]:port": as in a Host header or after CONNECT. The host in lower case, without brackets.
struct Authority {
  std::string host;
  std::optional<std::uint16_t> port;
};
/// Nothing for everything else, and for IPv4 in one of its odd spellings.
std::optional<Authority> parse_authority(std::string_view text);

/// "[v6]" or the host itself: as it stands before ":port".
std::string bracketed(const std::string& host);

/// A DNS name as it may stand in a Host header: letters, digits, hyphens, dots; labels of 1 to 63.
bool valid_host_name(std::string_view name);

}  // namespace agentvault::net
