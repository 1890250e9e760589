// Who is at the other end of a loopback connection.
#pragma once

#include <sys/types.h>

#include <optional>

namespace agentvault::net {

/// The user whose socket it is, as the kernel tells (sock_diag(7)); nothing where it does not: not a connection of this
/// network namespace, or no such service.
std::optional<uid_t> owner_of_peer(int socket);

}  // namespace agentvault::net
