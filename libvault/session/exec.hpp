// `agentvault exec`: one session, from fork to the child's exit status.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "policy/egress.hpp"
#include "policy/rule.hpp"
#include "sandbox/level.hpp"
#include "session/opener.hpp"

namespace agentvault::session {

struct ExecRequest {
  OpenRequest open;
  /// For a session without a vault: what it grants. `open` then names a folder that is the session's own.
  std::optional<std::vector<broker::Grant>> taken;
  // What was said here counts before what the agent's policy says; lists add to it.
  std::optional<policy::Egress> egress;  // nothing anywhere: every public host
  /// A level's name, or "auto": the strongest that can be set up here, but not `off`. "": not said.
  std::string isolation;
  std::vector<std::filesystem::path> writes;  // files and folders that the agent may change besides
  std::vector<std::filesystem::path> shares;  // hidden ones that it may see
  std::vector<std::string> keeps;             // variables that it gets although they look like keys
  /// At Level::strict: hosts outside, reached at the same port of 127.0.0.1 inside, or by name.
  std::vector<net::Authority> reaches;
  /// Ports of the agent's own servers that are reached from this machine.
  std::vector<std::uint16_t> publishes;
  std::optional<std::chrono::seconds> ttl;           // 15 minutes
  std::optional<std::chrono::seconds> max_lifetime;  // 12 hours
  std::optional<std::vector<policy::Rule>> plan;     // that the whole session is held to
  std::vector<std::string> command;
  std::vector<std::string> environment;  // "NAME=value", what exec itself was started with
  mode_t child_umask = 022;
  bool quiet = false;
  bool verbose = false;
};

/// Says why, and returns 126 or 127.
int report_failed_start(const std::string& command, int error_code);

/// The child's exit status (128+n when a signal killed it), 126 or 127 when the command cannot be run. Throws Error
/// when the session cannot be made: then no child was started.
int run_exec(ExecRequest request);

}  // namespace agentvault::session
