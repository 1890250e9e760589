// What a session counts its requests with.
#pragma once

#include "base/secret_bytes.hpp"
#include "broker/session_state.hpp"
#include "session/opener.hpp"

namespace agentvault::session {

/// Opens the agent's ledger, and looks up what its models cost. While files can still be opened, whether or not there
/// is a budget: a policy that comes later may set one. `key` is Opened::budget_key. Throws as Ledger does.
void prepare_budgets(broker::SessionState& state, const OpenRequest& request, SecretBytes key);

}  // namespace agentvault::session
