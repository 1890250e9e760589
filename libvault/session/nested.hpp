// `agentvault exec` inside a session: a sub-agent with less authority. No vault, no broker, no second process: every
// token of the environment is narrowed under one new delegation, this process walls itself off from those that hold the
// wider ones, and becomes the command.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "token/token.hpp"

namespace agentvault::session {

struct NestedRequest {
  std::vector<std::string> environment;  // "NAME=value"
  std::vector<std::string> command;
  std::string agent;                    // its name in the log; "": none
  std::vector<std::string> with;        // only these credentials; empty: all that the outer one has
  std::optional<std::uint64_t> budget;  // requests
  std::optional<std::chrono::seconds> lifetime;
  mode_t child_umask = 022;
  bool quiet = false;
};

/// Whether this environment is one of a session.
bool is_inside_session(const std::vector<std::string>& environment);

struct NarrowedEnvironment {
  std::vector<std::string> entries;
  std::vector<std::string> credentials;  // that some variable still has a token for
  Bytes delegation;
};

/// Every token in every value, also inside of URLs and of Basic authorizations. Variables that hold a token of a
/// credential that is not handed on, or one in another form, are taken out. Throws Error(usage).
NarrowedEnvironment narrow_environment(const NestedRequest& request);

/// Does not return when the command was started. 126 or 127 when it cannot be. Throws Error(usage), and Error(failed)
/// where the outer tokens cannot be hidden.
int run_nested(const NestedRequest& request);

}  // namespace agentvault::session
