#include "session/budgets.hpp"

#include "provider/preset.hpp"

namespace agentvault::session {

void prepare_budgets(broker::SessionState& state, const OpenRequest& request, SecretBytes key) {
  state.set_ledger(budget::Ledger(request.paths.budget(request.agent), request.agent, std::move(key)));
  for (auto& grant : state.grants()) {
    grant.metering = provider::metering_of(grant.binding.provider, provider::preset_folder());
  }
}

}  // namespace agentvault::session
