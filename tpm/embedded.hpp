// The embedded TPM: libtpms in this process. Its whole state is one file in the vault directory, replaced atomically
// and fsynced before a command that changed it returns, and locked against a second process for as long as it is open.
//
// State file `state` (schemas/embedded-state.md): libtpms' permanent state behind its hash, or, with a PIN, under
// AES-256-GCM with a random key which is wrapped once for each PIN slot.
//
// libtpms keeps one TPM per process: a second open in one process throws.
#pragma once

#include <filesystem>
#include <memory>

#include "tpm/transport.hpp"

namespace agentvault::tpm {

/// Waits up to 10 s for another process to let go. Throws Error(tpm) when it does not, when the state is damaged, and
/// Error(pin) when the PIN does not open it. `pin` is asked only for an encrypted state.
std::unique_ptr<Transport> open_embedded(const std::filesystem::path& directory, const PinSource& pin);

/// False: nothing was ever stored here, or it was deleted.
bool embedded_state_exists(const std::filesystem::path& directory);

/// Whether opening it will ask for a PIN. False when there is no state.
bool embedded_state_is_encrypted(const std::filesystem::path& directory);

/// For init: from now on the state is written encrypted under this PIN. Must be called before the first open.
void create_encrypted_state(const std::filesystem::path& directory, const SecretBytes& pin);

}  // namespace agentvault::tpm
