// Whoever answers the calls of agents that the filter does not let through by itself (syscall_filter.hpp).
#pragma once

#include <optional>

#include "sandbox/attribute_supervisor.hpp"
#include "sandbox/connect_supervisor.hpp"
#include "sandbox/creation_supervisor.hpp"

namespace agentvault::sandbox {

class Supervisor {
 public:
  /// `creations`: nothing where no names are reserved.
  Supervisor(UniqueFd listener, ConnectPolicy connections, AttributePolicy attributes,
             std::optional<CreationSupervisor::Policy> creations);

  /// Can be read when a call waits.
  int get() const { return listener_.get(); }
  /// Takes what waits, some calls at most: each is answered now or later.
  void answer_some();
  bool busy() const { return connections_.busy(); }

  /// Repositories of git's that were made since.
  std::vector<std::filesystem::path> repositories() const;

 private:
  void answer(const Notification& asked);

  UniqueFd listener_;
  ConnectSupervisor connections_;
  AttributeSupervisor attributes_;
  std::optional<CreationSupervisor> creations_;
};

}  // namespace agentvault::sandbox
