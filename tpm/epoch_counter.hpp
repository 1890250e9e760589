// The epoch counter: a TPM NV counter that only goes up. Which epoch lives is what it says.
//
// Strangers cannot advance it: writing needs a signature by the vault's counter key (PolicySigned over the TPM's nonce,
// so that it cannot be replayed) and nothing else; owner writes are off. Everybody may read it.
#pragma once

#include <cstdint>

#include "base/p256.hpp"
#include "tpm/tpm.hpp"

namespace agentvault::tpm {

/// Defines a new index (0x01800A56 or the next free one), increments it once, returns its serialised reference.
/// Throws TpmError when the TPM has no room for it.
Bytes define_counter(Tpm& tpm, const P256Key& key);

/// For undoing a failed init.
void undefine_counter(Tpm& tpm, ByteView counter);

/// Read in a session salted to the storage root, so that the answer is authenticated.
std::uint64_t read_counter(Tpm& tpm, ByteView storage_root, ByteView counter);

/// Adds one. Backs off (4 times, 5 s in all) when the TPM limits the rate of writes.
void increment_counter(Tpm& tpm, ByteView counter, const P256Key& key);

}  // namespace agentvault::tpm
