// What a stage holds under the master key, and the master key itself under the TPM.
#pragma once

#include "base/p256.hpp"
#include "keys/master_key.hpp"
#include "store/database.hpp"
#include "tpm/sealed_key.hpp"
#include "tpm/tpm.hpp"

namespace agentvault::keys {

/// What binds this snapshot's master key. Throws Error(integrity) when the snapshot says nonsense.
tpm::SealingTerms terms_of(const store::Snapshot& snapshot);

/// Seals the master key into the stage, reads it back, and signs the manifest: the last thing done to a new stage.
/// `auth`: the stretched PIN, or null.
void finish_stage(tpm::Tpm& tpm, const MasterKey& master, const SecretBytes* auth, store::Snapshot& snapshot);

/// Unseals the master key. Does not check the manifest.
MasterKey unseal_master(tpm::Tpm& tpm, const store::Snapshot& snapshot, const SecretBytes* auth);

/// The key that may write the vault's counter and register.
void wrap_counter_key(const MasterKey& master, const P256Key& key, store::StageRow& stage);
P256Key unwrap_counter_key(const MasterKey& master, const store::StageRow& stage);

/// What the recovery passphrase stretches to. Nothing is set while recovery_salt is empty.
void wrap_recovery_key(const MasterKey& master, const SecretBytes& key, store::StageRow& stage);
SecretBytes unwrap_recovery_key(const MasterKey& master, const store::StageRow& stage);

}  // namespace agentvault::keys
