// The sessions of a vault: `sessions/<id>.lock`, held for a session's life and never inherited by its child, and
// `sessions/<id>.sock`, its control socket. A released lock means: gone.
#pragma once

#include <sys/types.h>

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

/// Names of the sessions whose lock is held. Removes what the dead have left. Throws Error(failed) when that cannot be
/// found out: "none" must be true.
std::vector<std::string> live_sessions(const keys::VaultPaths& paths);

/// Removes what sessions that were killed have left, as far as that can be found out.
void sweep_dead_sessions(const keys::VaultPaths& paths);

/// Connects to the control socket of a session, without waiting; nothing when nobody listens or its queue is full.
UniqueFd connect_control(const keys::VaultPaths& paths, const std::string& name);

/// Whether the session's lock is still held.
bool is_live(const keys::VaultPaths& paths, const std::string& name);

/// The process that holds the session's lock, as the kernel tells; 0 when it is not seen from here.
pid_t process_of(const keys::VaultPaths& paths, const std::string& name);

}  // namespace agentvault::session
