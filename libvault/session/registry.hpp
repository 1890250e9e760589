// The sessions of a vault: `sessions/<id>.lock`, held for a session's life and never inherited by its child, and
// `sessions/<id>.sock`, its control socket. A released lock means: gone.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/file.hpp"
#include "keys/vault_paths.hpp"

namespace agentvault::session {

/// This process' own entry, removed on destruction.
class Registration {
 public:
  Registration(const keys::VaultPaths& paths, const Bytes& id);
  ~Registration();
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;

  /// Listening, non-blocking.
  int control_socket() const { return socket_.get(); }
  const std::string& name() const { return name_; }

 private:
  keys::VaultPaths paths_;
  std::string name_;
  std::optional<FileLock> lock_;
  UniqueFd socket_;
};

/// Names of the sessions whose lock is held. Removes what the dead have left.
std::vector<std::string> live_sessions(const keys::VaultPaths& paths);

/// Connects to the control socket of a session; nothing when nobody listens.
UniqueFd connect_control(const keys::VaultPaths& paths, const std::string& name);

}  // namespace agentvault::session
