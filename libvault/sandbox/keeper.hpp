// The child's side of a cell: the process that makes the cell, starts the agent in it, and stays: as the first process
// of its namespace (strict), or as the one that takes in orphans (standard). It holds no secret.
#pragma once

#include "sandbox/cell.hpp"

namespace agentvault::sandbox {

/// Messages, from exec to the keeper and back.
enum KeeperMessage : std::uint8_t {
  kEnter = 1,       // furnishing
  kReady = 2,       // the cell stands: doors
  kFailed = 3,      // kind, text, hint
  kHello = 4,       // from what becomes the agent: tells its process id
  kStarted = 5,     // a handle of the agent
  kNotStarted = 6,  // errno
  kStopped = 7,     // the agent was stopped: by which signal
  kConnect = 8,     // to keeper: connect to this port of 127.0.0.1 inside
  kConnected = 9,   // a socket, or none when nobody listens there
  kContinue = 10,   // to keeper: the agent's group goes on; whether in front of its terminal
  kSignal = 11,     // to keeper: this signal to the agent's group
  kNoted = 12,      // for the person, when the session is over: a line
};

/// exec, as it is known before there are namespaces.
struct Owner {
  pid_t process;
  uid_t user;
  gid_t group;
};

/// Never returns.
[[noreturn]] void keep(const CellRequest& request, Channel channel, Owner owner);

}  // namespace agentvault::sandbox
