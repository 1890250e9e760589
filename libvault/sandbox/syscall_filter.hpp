// System call filters (seccomp(2)). Each is of this process and of whatever it starts, and cannot be undone; all need
// no_new_privs.
#pragma once

#include "base/bytes.hpp"
#include "base/file.hpp"

namespace agentvault::sandbox {

/// For an agent: made in one process, which may take some milliseconds, and entered in its child.
class AgentFilter {
 public:
  struct Walls {
    bool namespaces = false;
    /// Whether files can be reached whose modes, owners, attributes and times are none of the agent's.
    bool foreign_files = false;
    /// Whether new files are made by a supervisor (creation_supervisor.hpp).
    bool reserved_names = false;
  };
  /// Inside its namespaces: no further namespaces, no debugging of others, no sockets that a network namespace does not
  /// hold (AF_VSOCK), no datagrams to paths, no pushing of characters into the terminal, no set-uid programs. Without
  /// namespaces, besides: no sockets but TCP ones and socket pairs. Calls that nobody has judged are unknown.
  explicit AgentFilter(Walls walls);

  /// Every connect(), without namespaces every listen(), with foreign files every change of attributes, and with
  /// reserved names every call that may make a file waits for the answer of whoever holds the descriptor that is
  /// returned. The caller has given up new privileges.
  UniqueFd enforce() const;

 private:
  Bytes program_;
};

/// For this process and whatever it starts: one filter more, which forbids nothing. It is how a session's connect
/// supervisor tells a sub-agent's processes from its parent's, for they cannot be rid of it. The caller has given up
/// new privileges. Throws Error(failed).
void mark_sub_agent();

/// For the broker: what an event loop needs. No program is started, no process but the one behind a descriptor that it
/// already has is signalled, no AF_UNIX socket is made.
void filter_broker();

}  // namespace agentvault::sandbox
