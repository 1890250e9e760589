// Namespaces (namespaces(7)) for one session: user, mount, network, process, IPC, host name.
#pragma once

#include <sys/types.h>

namespace agentvault::sandbox {

/// Like fork(); but the child is the first process of new namespaces, without anything set up in them. Throws
/// Error(failed) where this kernel, or its configuration, does not give them.
pid_t fork_into_namespaces();

/// In that child, and before it is made undumpable: its user and group are those that it has outside, and no others
/// exist. Throws Error(failed) where that is not allowed.
void map_own_user(uid_t user, gid_t group);

/// In that child, after that: of what the kernel counts for the user in all namespaces together, this one may use up a
/// half. Where the system does not let that be set, nothing happens.
void leave_a_share_to_others();

}  // namespace agentvault::sandbox
