// Which addresses a broker may dial. Asked for the address that is then dialled, never for a name alone.
#pragma once

#include "net/address.hpp"

namespace agentvault::net {

enum class AddressClass {
  open,      // the public internet
  local,     // private, loopback, link-local, CGNAT, the machine's own: only where a credential names them
  metadata,  // cloud metadata services: never
};

/// IPv4 inside IPv6 (mapped, compatible, NAT64, 6to4) is classed as that IPv4 address.
AddressClass classify(const Address& address);

/// classify(), and the addresses of this machine's interfaces count as local.
AddressClass classify_on_this_machine(const Address& address);

/// Names that stand for this machine, or for a metadata service: for when somebody else resolves them.
bool is_local_name(const std::string& host);

}  // namespace agentvault::net
