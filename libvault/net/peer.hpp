// Who is at the other end of a loopback connection.
#pragma once

#include <sys/types.h>

#include <optional>

namespace agentvault::net {

struct PeerOwner {
  /// Whether a process still holds the peer's socket. One that nobody holds belongs to nobody: the kernel then says
  /// user 0.
  bool held = false;
  uid_t user = 0;
};

/// As the kernel tells (sock_diag(7)); nothing where it does not: not a connection of this network namespace, or no
/// such service.
std::optional<PeerOwner> owner_of_peer(int socket);

}  // namespace agentvault::net
