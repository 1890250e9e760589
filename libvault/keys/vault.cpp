#include "keys/vault.hpp"

#include <algorithm>
#include <chrono>

#include "base/error.hpp"
#include "base/log.hpp"
#include "keys/manifest.hpp"
#include "tpm/embedded.hpp"

namespace agentvault::keys {
namespace {

constexpr std::chrono::seconds kLockPatience{10};

Bytes associated_data(const store::VaultRow& vault, const store::CredentialRow& row) {
  return ByteWriter()
      .text("agentvault credential 1")
      .blob(vault.id)
      .blob(row.id)
      .text(row.name)
      .u64(row.version)
      .text(row.binding)
      .bytes();
}

std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

bool same_state(const store::Snapshot& a, const store::Snapshot& b) {
  return a.stage.epoch == b.stage.epoch && a.stage.sequence == b.stage.sequence;
}

auto position(std::vector<store::CredentialRow>& rows, const std::string& name) {
  return std::lower_bound(rows.begin(), rows.end(), name,
                          [](const auto& row, const auto& key) { return row.name < key; });
}

bool needs_pin(const VaultPaths& paths, const store::Snapshot& snapshot) {
  return !snapshot.stage.pin_salt.empty() || tpm::embedded_state_is_encrypted(paths.tpm());
}

}  // namespace

tpm::DictionaryAttack dictionary_attack_for(const tpm::TransportName& name) {
  return name.kind == tpm::TransportKind::embedded ? tpm::DictionaryAttack::ignore : tpm::DictionaryAttack::protect;
}

Vault::Vault(VaultPaths paths, bool locked)
    : paths_(std::move(paths)), database_(store::Database::open(paths_.database())) {
  if (locked) take_lock();
  snapshot_ = database_.newest();
}

void Vault::take_lock() {
  lock_ = FileLock::acquire(paths_.lock(), kLockPatience);
  if (!lock_) {
    throw Error(ErrorKind::failed, "another agentvault command is changing this vault", "wait for it, then try again");
  }
}

Vault Vault::open(const VaultPaths& paths, Access access, const std::optional<tpm::TransportName>& tpm,
                  const PinSource& pin) {
  paths.check();
  // Both a PIN-encrypted embedded state and a PIN-bound key may ask: the person is asked once, and before any lock is
  // taken that others wait for.
  std::optional<SecretBytes> asked;
  const PinSource once = [&pin, &asked] {
    if (!asked) asked = pin();
    return asked->clone();
  };
  if (needs_pin(paths, store::Database::open(paths.database()).newest())) asked = pin();
  for (bool locked = access == Access::write;; locked = true) {
    Vault vault(paths, locked);
    const auto name = tpm ? *tpm : tpm::TransportName::parse_stored(vault.snapshot_.vault.tpm);
    vault.tpm_ = std::make_unique<tpm::Tpm>(name, paths.tpm(), once);
    vault.unseal(once);
    if (!vault.snapshot_.stage.pending) return vault;
    if (locked) {
      vault.finish_barrier(access);
      return vault;
    }
    // A barrier to finish: once more, with the vault's lock before the TPM's, as everybody takes them.
  }
}

void Vault::unseal(const PinSource& pin) {
  for (;;) {
    const auto& [vault, stage, credentials] = snapshot_;
    if (!stage.pin_salt.empty() && !auth_) auth_ = scrypt(pin(), stage.pin_salt);
    try {
      master_ = MasterKey(tpm::unseal(*tpm_, {vault.storage_root, vault.counter}, stage.epoch,
                                      {stage.sealed_public, stage.sealed_private}, auth_ ? &*auth_ : nullptr));
      return verify_manifest(master_, snapshot_);
    } catch (const tpm::TpmError& error) {
      // A barrier may have passed between reading the database and asking the TPM: then there is something newer.
      if (tpm::refusal(error.rc()) != tpm::Refusal::policy) throw;
      auto again = database_.newest();
      if (same_state(again, snapshot_)) throw;
      snapshot_ = std::move(again);
    }
  }
}

const store::CredentialRow* Vault::find(const std::string& name) const {
  const auto& rows = snapshot_.credentials;
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const auto& row) { return row.name == name; });
  return found == rows.end() ? nullptr : &*found;
}

SecretBytes Vault::secret_of(const store::CredentialRow& row) const {
  auto secret = aead_open(master_.credential_key(row.id), associated_data(snapshot_.vault, row), row.secret);
  if (!secret) {
    throw Error(ErrorKind::integrity, "the credential " + row.name + " does not decrypt",
                "put a copy of vault.db back that you trust");
  }
  return std::move(*secret);
}

store::CredentialRow Vault::encrypt(const NewCredential& credential, const Bytes& id, std::uint64_t version) const {
  store::CredentialRow row;
  row.id = id;
  row.name = credential.name;
  row.version = version;
  row.binding = credential.binding;
  row.created = row.changed = now();
  row.secret = aead_seal(master_.credential_key(id), associated_data(snapshot_.vault, row), credential.secret.reveal());
  return row;
}

void Vault::add(const NewCredential& credential) {
  if (find(credential.name) != nullptr) {
    throw Error(ErrorKind::failed, "there is a credential named " + credential.name + " already",
                "\"agentvault add " + credential.name + " --replace\" stores a new secret for it");
  }
  store::Snapshot next = snapshot_;
  next.credentials.insert(position(next.credentials, credential.name), encrypt(credential, random_bytes(16), 1));
  const Digest predecessor = sha256(manifest_input(snapshot_));
  next.stage.previous.assign(predecessor.begin(), predecessor.end());
  ++next.stage.sequence;
  next.stage.mac = manifest_mac(master_, next);
  database_.write_stage(next.stage, next.credentials);
  snapshot_ = std::move(next);
}

void Vault::replace(const NewCredential& credential) {
  const auto* old = find(credential.name);
  if (old == nullptr) {
    throw Error(ErrorKind::not_found, "there is no credential named " + credential.name,
                "\"agentvault list\" shows the names");
  }
  auto row = encrypt(credential, old->id, old->version + 1);
  row.created = old->created;
  store::Snapshot next = snapshot_;
  *position(next.credentials, credential.name) = std::move(row);
  barrier(std::move(next));
}

void Vault::remove(const std::string& name) {
  if (find(name) == nullptr) {
    throw Error(ErrorKind::not_found, "there is no credential named " + name, "\"agentvault list\" shows the names");
  }
  store::Snapshot next = snapshot_;
  next.credentials.erase(position(next.credentials, name));
  barrier(std::move(next));
}

}  // namespace agentvault::keys
