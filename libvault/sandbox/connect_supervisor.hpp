// Makes the connections of agents: their connect() waits until this process has looked at a copy of the address and
// connected their socket itself. Where they have no network of their own, it opens their servers, too, on 127.0.0.1.
// Between look and connection there is nothing that an agent could change.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <vector>

#include "base/file.hpp"
#include "sandbox/file_identity.hpp"
#include "sandbox/notification.hpp"

namespace agentvault::sandbox {

struct ConnectPolicy {
  /// Without a network namespace: only to these ports of 127.0.0.1.
  bool only_loopback = false;
  std::vector<std::uint16_t> announced_ports;
  std::vector<std::uint16_t> other_ports;
  /// Where the local port of a connection to one of the first is written before it is made: two bytes, big-endian.
  int announcements = -1;
  /// Whether sockets with a path may be connected to at all: then those of processes in this network namespace, and
  /// these.
  bool local_sockets = false;
  std::vector<FileIdentity> shared_sockets;
  /// How many filters of system calls the agent has. A process with more is of a sub-agent (mark_sub_agent), or has
  /// made itself one: it is to use its own token, and so connects to 127.0.0.1 only, and not to these ports.
  unsigned filters_of_agent = 0;
  std::vector<std::uint16_t> without_token;
};

/// Of a process, or a thread. Throws Error(failed) where the kernel does not say.
unsigned count_filters(pid_t process);

class ConnectSupervisor {
 public:
  explicit ConnectSupervisor(ConnectPolicy policy) : policy_(std::move(policy)) {}

  /// The numbers of the calls that it answers.
  static const std::vector<int>& calls();
  /// Now or later.
  void answer(const Notification& asked);
  /// As many wait for their peers as can: others have to wait with them.
  bool busy() const;

 private:
  ConnectPolicy policy_;
  std::atomic<int> waiting_{0};  // connections, each in a thread of its own
};

}  // namespace agentvault::sandbox
