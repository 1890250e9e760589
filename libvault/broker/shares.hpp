// What a sub-agent may have under way at once. Its parent shares the session's connections with it, and must not be
// shut out: who holds many is told to wait. Those of a sub-agent's own sub-agents count as its own.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>

#include "broker/session_state.hpp"

namespace agentvault::broker {

class Shares {
 public:
  /// `most` requests and tunnels of one sub-agent.
  explicit Shares(std::size_t most) : most_(most) {}

  /// Counted for as long as what is returned lives; null when there are as many already. What the session's own agent
  /// sends is not counted.
  std::shared_ptr<void> take(const VerifiedToken& token);

 private:
  std::size_t most_;
  std::shared_ptr<std::map<std::string, std::size_t>> held_ =
      std::make_shared<std::map<std::string, std::size_t>>();  // by the outermost delegation
};

}  // namespace agentvault::broker
