// System call filters (seccomp(2)). Each is of this process and of whatever it starts, and cannot be undone; all need
// no_new_privs.
#pragma once

#include "base/file.hpp"

namespace agentvault::sandbox {

/// For an agent inside its namespaces: no further namespaces, no debugging of others, no sockets that a network
/// namespace does not hold (AF_VSOCK), no datagrams to paths, no pushing of characters into the terminal. Every
/// connect() waits for the answer of whoever holds the descriptor that is returned.
UniqueFd filter_agent();

/// For an agent without namespaces: besides, no sockets but TCP ones and socket pairs.
UniqueFd filter_agent_without_namespaces();

/// For the broker: what an event loop needs. No program is started, no process but the one behind a descriptor that it
/// already has is signalled, no AF_UNIX socket is made.
void filter_broker();

}  // namespace agentvault::sandbox
