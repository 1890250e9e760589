// Whoever answers the calls of agents that the filter does not let through by itself (syscall_filter.hpp).
#pragma once

#include "sandbox/attribute_supervisor.hpp"
#include "sandbox/connect_supervisor.hpp"

namespace agentvault::sandbox {

class Supervisor {
 public:
  Supervisor(UniqueFd listener, ConnectPolicy connections, AttributePolicy attributes)
      : listener_(std::move(listener)), connections_(std::move(connections)), attributes_(std::move(attributes)) {}

  /// Can be read when a call waits.
  int get() const { return listener_.get(); }
  /// Takes one, which is answered now or later.
  void answer_one();
  bool busy() const { return connections_.busy(); }

 private:
  UniqueFd listener_;
  ConnectSupervisor connections_;
  AttributeSupervisor attributes_;
};

}  // namespace agentvault::sandbox
