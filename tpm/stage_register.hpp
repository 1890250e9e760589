// The stage register: a TPM NV index that can only be extended (value' = SHA-256(value | data), part 3, section 31.6).
// Each barrier enters its stage there before it moves the counter, so that of two stages made for one epoch only the
// one that was entered can be finished later. Only the vault's own key may extend it; everybody may read it.
#pragma once

#include "base/crypto.hpp"
#include "base/p256.hpp"
#include "tpm/tpm.hpp"

namespace agentvault::tpm {

/// Defines a new index, extends it once, returns its serialised reference.
Bytes define_register(Tpm& tpm, ByteView storage_root, const P256Key& key);
/// For undoing a failed init.
void undefine_register(Tpm& tpm, ByteView reference);
Digest read_register(Tpm& tpm, ByteView storage_root, ByteView reference);
void extend_register(Tpm& tpm, ByteView storage_root, ByteView reference, const P256Key& key, const Digest& with);
/// What the register holds after `value` was extended with `with`.
Digest extended(const Digest& value, const Digest& with);

}  // namespace agentvault::tpm
