// The end of a vault: its TPM keeps nothing of it, and its folder goes.
#pragma once

#include "keys/vault.hpp"

namespace agentvault::keys {

/// `vault`: open with Access::write. Counter and register leave the TPM first: from then on no copy of the vault opens.
/// Deletes what agentvault has put into the folder, and the folder if nothing else is in it; false: something is.
/// Throws Error(tpm) when the TPM gives nothing back (then the vault is as it was), Error(failed) for files that stay.
bool destroy_vault(Vault vault, const tpm::PinSource& owner_password);

}  // namespace agentvault::keys
