// `exec --take`: keys out of exec's own environment, for a session without a vault.
#pragma once

#include <string>
#include <vector>

#include "broker/session_state.hpp"

namespace agentvault::cli {

/// Moves the variables out of the environment, wipes them there, and binds each to what its preset says. Throws
/// Error(usage) for a variable that is not set or that no preset knows.
std::vector<broker::Grant> take_keys(const std::vector<std::string>& variables);

}  // namespace agentvault::cli
