// Which programs of this machine can work inside a session, and how.
#pragma once

#include <string>
#include <vector>

namespace agentvault::cli {

struct ClientCheck {
  std::string program;
  std::string verdict;  // "works", "partly", "cannot"
  std::string how;      // how it reaches the broker, or why it does not
};

/// Those of the known clients that are in PATH. Asks some for their version.
std::vector<ClientCheck> check_clients();

}  // namespace agentvault::cli
