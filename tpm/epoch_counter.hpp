// The epoch counter: a TPM NV counter that only goes up. Which epoch lives is what it says. Only the vault's own key
// may advance it (tpm/vault_index.hpp); everybody may read it.
#pragma once

#include <cstdint>

#include "base/p256.hpp"
#include "tpm/tpm.hpp"

namespace agentvault::tpm {

/// Defines a new index, increments it once, returns its serialised reference. Throws TpmError when the TPM has no room.
Bytes define_counter(Tpm& tpm, ByteView storage_root, const P256Key& key);

/// For undoing a failed init.
void undefine_counter(Tpm& tpm, ByteView counter);

std::uint64_t read_counter(Tpm& tpm, ByteView storage_root, ByteView counter);

/// Adds one.
void increment_counter(Tpm& tpm, ByteView storage_root, ByteView counter, const P256Key& key);

}  // namespace agentvault::tpm
