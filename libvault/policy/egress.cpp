#include "policy/egress.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/text.hpp"
#include "net/address_guard.hpp"

namespace agentvault::policy {

Egress Egress::parse(std::string_view text) {
  if (text == "open") return {};
  std::vector<std::string> hosts;
  if (text != "brokered") {
    for (const auto part : split(text, ',')) hosts.emplace_back(trim(part));
  }
  return listing(hosts);
}

Egress Egress::listing(const std::vector<std::string>& hosts) {
  Egress egress;
  egress.open_ = false;
  for (const auto& text : hosts) {
    const bool below = text.starts_with("*.");
    auto host = net::parse_authority(below ? std::string_view(text).substr(2) : text);
    if (!host) {
      throw Error(ErrorKind::usage, "not a host for egress: \"" + printable(text) + "\"",
                  "write open, brokered, or hosts: docs.example.org,*.example.net");
    }
    if (below) host->host.insert(0, 1, '.');
    egress.hosts_.push_back(std::move(*host));
  }
  return egress;
}

bool Egress::lists(const std::string& host, std::uint16_t port, bool exactly) const {
  return std::any_of(hosts_.begin(), hosts_.end(), [&](const net::Authority& listed) {
    if (listed.port && *listed.port != port) return false;
    return host == listed.host || (!exactly && listed.host.starts_with('.') && host.ends_with(listed.host));
  });
}

bool Egress::permits(const std::string& host, std::uint16_t port) const {
  return open_ || lists(host, port, false);
}

bool Egress::names_host(const std::string& host) const {
  if (open_ && host.find('.') != std::string::npos && !net::is_local_name(host)) return true;
  return std::any_of(hosts_.begin(), hosts_.end(), [&](const net::Authority& listed) {
    return host == listed.host || (listed.host.starts_with('.') && host.ends_with(listed.host));
  });
}

bool Egress::names_local(const std::string& host, std::uint16_t port) const {
  return lists(host, port, true) && net::Origin{host, port}.names_local_address();
}

bool Egress::opens(const std::string& host, std::uint16_t port) const {
  const bool local = net::Origin{host, port}.names_local_address();
  return permits(host, port) && (!local || names_local(host, port));
}

std::string Egress::text() const {
  if (open_) return "open";
  std::vector<std::string> parts;
  for (const auto& host : hosts_) {
    const std::string name = host.host.starts_with('.') ? "*" + host.host : net::bracketed(host.host);
    parts.push_back(host.port ? name + ":" + std::to_string(*host.port) : name);
  }
  return parts.empty() ? "brokered" : join(parts, ",");
}

}  // namespace agentvault::policy
