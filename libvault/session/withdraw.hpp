// Telling sessions that run, in whatever process of this machine, what was taken from them. Taking away needs neither
// the master key nor a TPM: it works with a forgotten PIN.
#pragma once

#include <string>
#include <vector>

#include "keys/vault_paths.hpp"
#include "session/control.hpp"

namespace agentvault::session {

enum class Silent {
  kill,   // a session that does not answer in time is ended: what it holds must not be used
  leave,  // it is named in the result
};

struct Withdrawn {
  std::vector<std::string> told;         // have done it
  std::vector<std::string> indifferent;  // answered that it is none of theirs
  std::vector<std::string> killed;       // did not answer
  std::vector<std::string> silent;       // did not answer, and run on
};

/// One session, and what it is to be told.
struct Told {
  std::string session;
  ControlCommand command;
};

/// Tells these sessions, all at once. Returns when each has acknowledged, is gone, or (Silent::leave) was given up:
/// with Silent::kill no request is allowed by any of them after it returned. Throws Error(failed) for one that can
/// neither be reached nor be killed.
Withdrawn tell(const keys::VaultPaths& paths, const std::vector<Told>& told, Silent silent);
/// The same to each.
Withdrawn withdraw(const keys::VaultPaths& paths, const std::vector<std::string>& sessions,
                   const ControlCommand& command, Silent silent);

}  // namespace agentvault::session
