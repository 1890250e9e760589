#include "keys/stage.hpp"

#include "base/error.hpp"
#include "keys/manifest.hpp"

namespace agentvault::keys {
namespace {

constexpr const char* kCounterKey = "agentvault counter key";
constexpr const char* kRecoveryKey = "agentvault recovery key";

SecretBytes unwrap(const SecretBytes& wrapping, const char* label, const Bytes& box) {
  auto key = aead_open(wrapping, as_bytes(label), box);
  if (!key) throw Error(ErrorKind::integrity, std::string(label) + " does not decrypt", "restore the vault");
  return std::move(*key);
}

/// Dictionary-attack protection goes with a PIN on TPMs that are, or stand for, hardware.
tpm::DictionaryAttack dictionary_attack_for(const tpm::TransportName& name) {
  return name.kind == tpm::TransportKind::embedded ? tpm::DictionaryAttack::ignore : tpm::DictionaryAttack::protect;
}

}  // namespace

tpm::SealingTerms terms_of(const store::Snapshot& snapshot) {
  const auto& [vault, stage, credentials, revoked, policies] = snapshot;
  try {
    return {vault.storage_root, vault.counter, stage.epoch, tpm::PcrSelection::parse(stage.pcrs), stage.pcr_digest};
  } catch (const Error&) {
    throw Error(ErrorKind::integrity, "the vault names PCRs that do not exist",
                "restore the vault from a copy you trust");
  }
}

void finish_stage(tpm::Tpm& tpm, const MasterKey& master, const SecretBytes* auth, store::Snapshot& snapshot) {
  auto& stage = snapshot.stage;
  const auto kind = dictionary_attack_for(tpm::TransportName::parse_stored(snapshot.vault.tpm));
  const tpm::SealedKey sealed = tpm::seal(tpm, terms_of(snapshot), master.key(), auth, kind);
  stage.sealed_public = sealed.public_area;
  stage.sealed_private = sealed.private_area;
  // What cannot be unsealed must never become the only copy.
  if (!constant_time_equal(unseal_master(tpm, snapshot, auth).key().reveal(), master.key().reveal())) {
    throw Error(ErrorKind::tpm, "the TPM gave back another key than was sealed", "nothing was changed");
  }
  stage.mac = manifest_mac(master, snapshot);
}

MasterKey unseal_master(tpm::Tpm& tpm, const store::Snapshot& snapshot, const SecretBytes* auth) {
  const auto& stage = snapshot.stage;
  return MasterKey(tpm::unseal(tpm, terms_of(snapshot), {stage.sealed_public, stage.sealed_private}, auth));
}

void wrap_counter_key(const MasterKey& master, const P256Key& key, store::StageRow& stage) {
  stage.counter_key = aead_seal(master.counter_key_wrapping(), as_bytes(kCounterKey), key.private_der().reveal());
}

P256Key unwrap_counter_key(const MasterKey& master, const store::StageRow& stage) {
  return P256Key::from_private_der(unwrap(master.counter_key_wrapping(), kCounterKey, stage.counter_key));
}

void wrap_recovery_key(const MasterKey& master, const SecretBytes& key, store::StageRow& stage) {
  stage.recovery_key = aead_seal(master.recovery_key_wrapping(), as_bytes(kRecoveryKey), key.reveal());
}

SecretBytes unwrap_recovery_key(const MasterKey& master, const store::StageRow& stage) {
  return unwrap(master.recovery_key_wrapping(), kRecoveryKey, stage.recovery_key);
}

}  // namespace agentvault::keys
