// `agentvault exec`: one session, from fork to the child's exit status.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "broker/egress.hpp"
#include "session/opener.hpp"

namespace agentvault::session {

struct ExecRequest {
  OpenRequest open;
  /// For a session without a vault: what it grants. `open` then names a folder that is the session's own.
  std::optional<std::vector<broker::Grant>> taken;
  broker::Egress egress;
  std::chrono::seconds ttl{std::chrono::minutes(15)};
  std::chrono::seconds max_lifetime{std::chrono::hours(12)};
  std::vector<std::string> command;
  std::vector<std::string> environment;  // "NAME=value", what exec itself was started with
  mode_t child_umask = 022;
  bool quiet = false;
};

/// The child's exit status (128+n when a signal killed it), 126 or 127 when the command cannot be run. Throws Error
/// when the session cannot be made: then no child was started.
int run_exec(ExecRequest request);

}  // namespace agentvault::session
