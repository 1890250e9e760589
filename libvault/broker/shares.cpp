#include "broker/shares.hpp"

namespace agentvault::broker {

std::shared_ptr<void> Shares::take(const VerifiedToken& token) {
  const auto delegations = token.delegations();
  static const std::shared_ptr<void> uncounted = std::make_shared<char>();
  if (delegations.empty()) return uncounted;
  const std::string& whose = delegations.front();
  auto& held = (*held_)[whose];
  if (held >= most_) return nullptr;
  ++held;
  return {static_cast<void*>(&held), [all = held_, whose](void*) {
            const auto found = all->find(whose);
            if (found != all->end() && --found->second == 0) all->erase(found);
          }};
}

}  // namespace agentvault::broker
