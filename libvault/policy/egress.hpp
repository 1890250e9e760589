// Which hosts an agent may reach without a credential.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/origin.hpp"

namespace agentvault::policy {

class Egress {
 public:
  /// "open": every public host. "brokered": none but those of granted credentials. Otherwise a list:
  /// "docs.example.org,*.example.net,localhost:5432"; "*." stands for one label or more. Throws Error(usage).
  static Egress parse(std::string_view text);
  /// These only, even if one is called "open"; none: as "brokered". Throws Error(usage).
  static Egress listing(const std::vector<std::string>& hosts);

  bool permits(const std::string& host, std::uint16_t port) const;
  /// Whether any port of the host may be reached. With "open": of names that the internet can know.
  bool names_host(const std::string& host) const;
  /// Names one more, besides what is permitted already.
  void add(const std::string& host, std::uint16_t port) { hosts_.push_back({host, port}); }
  /// Whether the list names a private or local host itself: such an address is dialled for nobody else.
  bool names_local(const std::string& host, std::uint16_t port) const;
  /// Both together: whether a request without a credential goes there.
  bool opens(const std::string& host, std::uint16_t port) const;
  /// Every host.
  bool is_open() const { return open_; }
  std::string text() const;
  /// Those that are listed, "*.example.net" as ".example.net".
  const std::vector<net::Authority>& hosts() const { return hosts_; }

 private:
  bool lists(const std::string& host, std::uint16_t port, bool exactly) const;

  bool open_ = true;
  std::vector<net::Authority> hosts_;  // "*.example.net" as ".example.net"
};

}  // namespace agentvault::policy
