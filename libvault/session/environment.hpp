// The child's environment: tokens where keys were, URLs of the broker where clients read one, the broker as proxy and
// its certificates for everybody else, and none of the vault's own variables.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "broker/session_state.hpp"
#include "session/client_files.hpp"

namespace agentvault::session {

struct EnvironmentRequest {
  std::vector<std::string> inherited;  // "NAME=value"
  std::string program;                 // file name of what is going to run
  const std::vector<broker::Grant>* grants;
  std::string authority;               // of the broker
  std::uint16_t tokenless_proxy_port;  // for Java
  std::string session;
  const ClientFiles* files;
  /// A token for one credential.
  std::function<std::string(const std::string& credential)> mint;
  std::string widest_token;
  std::string proxy_token;
  /// Whether a value holds a granted secret: such a variable is taken out, whatever its name.
  std::function<bool(std::string_view value)> holds_secret;
  std::vector<std::string> kept;  // names that are passed on although they look like keys
};

struct Environment {
  std::vector<std::string> entries;
  std::vector<std::string> removed;    // names of variables that held a granted secret
  std::vector<std::string> held_back;  // names of others that look like keys
};

/// Throws Error(usage) when two credentials claim one variable.
Environment build_environment(const EnvironmentRequest& request);

}  // namespace agentvault::session
