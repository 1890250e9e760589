// Something to take away that waits for whoever can open the vault.
#pragma once

#include <string>

namespace agentvault::store {

struct Intent {
  enum class Kind { revoke_agent, rotate };
  Kind kind = Kind::rotate;
  std::string subject;  // the agent's name
  bool operator==(const Intent&) const = default;
};

}  // namespace agentvault::store
