// The opener: a short-lived process that asks for the PIN, opens TPM and vault, hands exec what the session was
// granted, and is gone. The master key exists there and nowhere else: ESYS leaves copies of what it unseals in its
// heap, so only the end of the process wipes them all.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "broker/session_state.hpp"
#include "keys/vault.hpp"
#include "session/announcement.hpp"
#include "session/governance.hpp"

namespace agentvault::session {

struct OpenRequest {
  keys::VaultPaths paths;
  std::optional<tpm::TransportName> tpm;
  keys::PinSource pin;            // called in the opener
  std::vector<std::string> with;  // names of credentials; empty: all
  std::string agent = "default";
  std::filesystem::path folder;  // canonical: where it starts
  Bytes session;                 // its id
};

struct Opened {
  std::uint64_t generation = 0;
  std::string tpm;  // transport name
  std::vector<broker::Grant> grants;
  Version version{};
  Governance governance;
  SecretBytes announcement_key;
  SecretBytes budget_key;
};

/// Waits until the descriptor can be read. False: do not wait any longer, the session is not wanted any more.
using WaitForOpener = std::function<bool(int descriptor)>;

/// Throws what the opener threw, and Error(denied) when `wait` returned false: then the opener was ended.
Opened open_in_a_process_of_its_own(const OpenRequest& request, const WaitForOpener& wait);

}  // namespace agentvault::session
