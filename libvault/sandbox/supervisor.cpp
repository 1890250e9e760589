#include "sandbox/supervisor.hpp"

#include <poll.h>

#include <algorithm>

namespace agentvault::sandbox {
namespace {

constexpr int kMostAtOnce = 64;  // then others are heard

bool contains(const std::vector<int>& calls, int call) {
  return std::find(calls.begin(), calls.end(), call) != calls.end();
}

}  // namespace

Supervisor::Supervisor(UniqueFd listener, ConnectPolicy connections, AttributePolicy attributes,
                       std::optional<CreationSupervisor::Policy> creations)
    : listener_(std::move(listener)), connections_(std::move(connections)), attributes_(std::move(attributes)) {
  if (creations) creations_.emplace(std::move(*creations));
}

void Supervisor::answer_some() {
  pollfd waiting{listener_.get(), POLLIN, 0};
  for (int i = 0; i < kMostAtOnce && !busy() && ::poll(&waiting, 1, 0) > 0; ++i) {
    if (const auto asked = Notification::receive(listener_.get())) answer(*asked);
  }
}

void Supervisor::answer(const Notification& asked) {
  if (creations_ && contains(CreationSupervisor::calls(), asked.call())) return creations_->answer(asked);
  if (contains(ConnectSupervisor::calls(), asked.call())) return connections_.answer(asked);
  attributes_.answer(asked);
}

std::vector<std::filesystem::path> Supervisor::repositories() const {
  return creations_ ? creations_->repositories() : std::vector<std::filesystem::path>();
}

}  // namespace agentvault::sandbox
