// The barrier: a change that takes authority away. Stage durably, increment the counter, promote.
//
// A durable stage is the commit point: from then on recovery only rolls forward. No epoch is ever used twice, also not
// after a barrier that was cut short, since two stages of one epoch would both unseal after the increment.
#include <algorithm>

#include "base/error.hpp"
#include "base/log.hpp"
#include "keys/manifest.hpp"
#include "keys/vault.hpp"
#include "tpm/epoch_counter.hpp"

namespace agentvault::keys {
namespace {

P256Key counter_key(const MasterKey& master, const store::StageRow& stage) {
  const auto der = aead_open(master.counter_key_wrapping(), as_bytes("agentvault counter key"), stage.counter_key);
  if (!der) throw Error(ErrorKind::integrity, "the vault's counter key does not decrypt", "restore the vault");
  return P256Key::from_private_der(*der);
}

/// Until the counter says `epoch`. Every step is one more write to the TPM, normally exactly one.
void advance(tpm::Tpm& tpm, const store::VaultRow& vault, const P256Key& key, std::uint64_t epoch) {
  while (tpm::read_counter(tpm, vault.storage_root, vault.counter) < epoch) {
    tpm::increment_counter(tpm, vault.counter, key);
  }
}

}  // namespace

void Vault::barrier(store::Snapshot next) {
  const tpm::SealingParent parent{snapshot_.vault.storage_root, snapshot_.vault.counter};
  const std::uint64_t counter = tpm::read_counter(*tpm_, parent.storage_root, parent.counter);
  auto& stage = next.stage;
  stage.epoch = std::max(counter, snapshot_.stage.epoch) + 1;
  stage.pending = true;
  ++stage.sequence;
  const Digest predecessor = sha256(manifest_input(snapshot_));
  stage.previous.assign(predecessor.begin(), predecessor.end());

  const auto* auth = auth_ ? &*auth_ : nullptr;
  const auto kind = dictionary_attack_for(tpm::TransportName::parse_stored(snapshot_.vault.tpm));
  const tpm::SealedKey sealed = tpm::seal(*tpm_, parent, stage.epoch, master_.key(), auth, kind);
  // What cannot be unsealed must never become the only copy.
  const SecretBytes unsealed = tpm::unseal(*tpm_, parent, stage.epoch, sealed, auth);
  if (!constant_time_equal(unsealed.reveal(), master_.key().reveal())) {
    throw Error(ErrorKind::tpm, "the TPM gave back another key than was sealed", "nothing was changed");
  }
  stage.sealed_public = sealed.public_area;
  stage.sealed_private = sealed.private_area;
  stage.mac = manifest_mac(master_, next);

  database_.write_stage(stage, next.credentials);
  snapshot_ = std::move(next);
  try {
    advance(*tpm_, snapshot_.vault, counter_key(master_, snapshot_.stage), snapshot_.stage.epoch);
  } catch (const Error& error) {
    throw Error(ErrorKind::tpm,
                std::string("the change is stored, but older copies of the vault still open: ") + error.what(),
                "the next command that opens the vault finishes it");
  }
  promote();
}

void Vault::promote() {
  try {
    database_.promote();
    snapshot_.stage.pending = false;
  } catch (const Error& error) {
    // The change holds: the counter has moved. Whoever opens the vault next promotes it.
    log::warning(std::string("the change is made, but could not be tidied up: ") + error.what());
  }
}

void Vault::finish_barrier(Access access) {
  const auto& [vault, stage, credentials] = snapshot_;
  const std::uint64_t counter = tpm::read_counter(*tpm_, vault.storage_root, vault.counter);
  if (stage.epoch != counter && stage.epoch != counter + 1) {
    throw Error(ErrorKind::integrity, "the vault holds an unfinished change that does not fit the TPM's epoch",
                "put the newest copy of vault.db back; the TPM was not touched");
  }
  const Digest current = sha256(manifest_input(database_.current()));
  if (!std::equal(stage.previous.begin(), stage.previous.end(), current.begin(), current.end())) {
    throw Error(ErrorKind::integrity, "the vault holds an unfinished change of another state",
                "put the newest copy of vault.db back; the TPM was not touched");
  }
  try {
    advance(*tpm_, vault, counter_key(master_, stage), stage.epoch);
  } catch (const tpm::TpmError& error) {
    // Nothing may be built on an unfinished change; but reading serves the newer state all the same, never the older
    // one.
    if (access == Access::write) throw;
    log::warning(std::string("a change is still incomplete, older copies of the vault still open: ") + error.what());
    return;
  }
  promote();
}

}  // namespace agentvault::keys
