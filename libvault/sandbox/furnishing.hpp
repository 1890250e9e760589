// What an agent gets when it starts, and how that travels from exec to the keeper.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "sandbox/mounts.hpp"

namespace agentvault::sandbox {

struct Furnishing {
  bool in_front = true;                      // of the agent's own terminal, from the start
  std::vector<std::string> environment;      // "NAME=value"
  std::vector<SessionFile> files;            // Level::strict: to be written inside
  TrustedRoots roots;                        // Level::strict: which of them
  std::vector<std::string> readable_files;   // Level::standard: in folders that are hidden otherwise
  std::vector<std::uint16_t> broker_ports;   // Level::standard: to be connected to, and announced
  std::vector<std::uint16_t> other_ports;    // Level::standard: to be connected to
  std::vector<std::uint16_t> without_token;  // Level::standard: of the broker's, that which asks for no token
};

Bytes encode(const Furnishing& furnishing);
/// Throws std::out_of_range for one that was cut.
Furnishing decode_furnishing(ByteView bytes);

}  // namespace agentvault::sandbox
