// One IP address with a port.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>

namespace agentvault::net {

class Address {
 public:
  static Address loopback(std::uint16_t port);
  /// Dotted decimal with four parts, or RFC 4291 text without a zone. No octal, hexadecimal or shortened IPv4.
  static std::optional<Address> parse_literal(const std::string& text, std::uint16_t port);
  static std::optional<Address> from(const sockaddr* address, socklen_t size);

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const { return family() == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6); }
  int family() const { return storage_.ss_family; }
  std::uint16_t port() const;
  void set_port(std::uint16_t port);
  /// Without the port.
  std::string text() const;

 private:
  sockaddr_storage storage_{};
};

}  // namespace agentvault::net
