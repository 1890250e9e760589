// Keys sealed under an epoch: the TPM gives one back only while its counter is at most that epoch, and, where one is
// set, only with the PIN's auth value.
#pragma once

#include <cstdint>
#include <optional>

#include "tpm/tpm.hpp"

namespace agentvault::tpm {

struct SealedKey {
  Bytes public_area;   // TPM2B_PUBLIC, marshalled
  Bytes private_area;  // TPM2B_PRIVATE, marshalled: encrypted under the storage root key
};

struct SealingParent {
  Bytes storage_root;  // serialised references
  Bytes counter;
};

/// Dictionary-attack protection goes with an auth value on real TPMs. The embedded TPM must not have it: an unclean
/// stop counts as a failure there and would lock out the right PIN.
enum class DictionaryAttack { protect, ignore };

/// `secret` at most 128 bytes; `auth` at most 32.
SealedKey seal(Tpm& tpm, const SealingParent& parent, std::uint64_t epoch, const SecretBytes& secret,
               const SecretBytes* auth, DictionaryAttack dictionary_attack);

/// Four commands, five with `auth`. Throws TpmError: Refusal::policy when the epoch has passed.
SecretBytes unseal(Tpm& tpm, const SealingParent& parent, std::uint64_t epoch, const SealedKey& key,
                   const SecretBytes* auth);

}  // namespace agentvault::tpm
