// The network of a session's namespace: a loopback device, to which every address leads. What is connected to anywhere
// arrives at one socket, which is served from outside.
#pragma once

#include <cstdint>
#include <vector>

#include "base/file.hpp"

namespace agentvault::sandbox {

/// Sockets that were made inside; whoever holds them serves the namespace from wherever it is.
struct Doors {
  UniqueFd main;                             // 127.0.0.1, a free port
  UniqueFd tokenless;                        // likewise
  UniqueFd redirected;                       // TCP to any other address; null without nftables
  std::vector<UniqueFd> by_port;             // then: ports 443 and 80 of every address
  UniqueFd names;                            // UDP, 127.0.0.1:53
  std::vector<UniqueFd> reached;             // 127.0.0.1, the ports that were asked for, in their order
  std::vector<std::uint16_t> without_token;  // those that ask for no token
};

/// To be called with all capabilities of a new network namespace. Throws Error(failed).
Doors set_up_inner_network(const std::vector<std::uint16_t>& reached_ports);

}  // namespace agentvault::sandbox
