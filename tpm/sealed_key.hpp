// Keys sealed under an epoch: the TPM gives one back only while its counter is at most that epoch, and, where they are
// set, only with the PIN's auth value and after the same boot.
#pragma once

#include <cstdint>

#include "tpm/pcr.hpp"
#include "tpm/tpm.hpp"

namespace agentvault::tpm {

struct SealedKey {
  Bytes public_area;   // TPM2B_PUBLIC, marshalled
  Bytes private_area;  // TPM2B_PRIVATE, marshalled: encrypted under the storage root key
};

/// What a sealed key is bound to. All of it is needed again to unseal.
struct SealingTerms {
  Bytes storage_root;       // serialised reference
  Bytes counter;            // serialised reference; empty: bound to no counter
  std::uint64_t epoch = 0;  // the counter is at most this
  PcrSelection pcrs;        // empty: bound to no boot state
  Bytes pcr_digest;         // what they held: read_pcrs()
};

/// Dictionary-attack protection goes with an auth value on real TPMs. The embedded TPM must not have it: an unclean
/// stop counts as a failure there and would lock out the right PIN.
enum class DictionaryAttack { protect, ignore };

/// `secret` at most 128 bytes; `auth` at most 32.
SealedKey seal(Tpm& tpm, const SealingTerms& terms, const SecretBytes& secret, const SecretBytes* auth,
               DictionaryAttack dictionary_attack);

/// Four commands, one more with `auth`, one more with PCRs. Throws TpmError: Refusal::policy when the epoch has passed.
SecretBytes unseal(Tpm& tpm, const SealingTerms& terms, const SealedKey& key, const SecretBytes* auth);

}  // namespace agentvault::tpm
