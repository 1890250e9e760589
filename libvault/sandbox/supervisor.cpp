#include "sandbox/supervisor.hpp"

#include <algorithm>

namespace agentvault::sandbox {

void Supervisor::answer_one() {
  const auto asked = Notification::receive(listener_.get());
  if (!asked) return;
  const auto& calls = ConnectSupervisor::calls();
  if (std::find(calls.begin(), calls.end(), asked->call()) != calls.end()) {
    connections_.answer(*asked);
  } else {
    attributes_.answer(*asked);
  }
}

}  // namespace agentvault::sandbox
