#include "keys/vault.hpp"

#include <algorithm>
#include <chrono>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "keys/credential_box.hpp"
#include "keys/manifest.hpp"
#include "keys/stage.hpp"
#include "tpm/embedded.hpp"
#include "tpm/epoch_counter.hpp"
#include "tpm/lockout.hpp"

namespace agentvault::keys {
namespace {

constexpr std::chrono::seconds kLockPatience{10};
constexpr std::uint64_t kMostToCatchUp = 10'000;
constexpr int kMostBatches = 64;

bool same_state(const store::Snapshot& a, const store::Snapshot& b) {
  return a.stage.epoch == b.stage.epoch && a.stage.sequence == b.stage.sequence && a.stage.pending == b.stage.pending;
}

void check_embedded_state(const VaultPaths& paths, const tpm::TransportName& name) {
  if (name.kind != tpm::TransportKind::embedded || tpm::embedded_state_exists(paths.tpm())) return;
  throw Error(ErrorKind::tpm, "the state of the embedded TPM is gone: " + (paths.tpm() / "state").string(),
              "put it back; or, if you have a backup: \"agentvault restore FILE\" makes a new vault from it");
}

[[noreturn]] void explain_lockout(tpm::Tpm& tpm, const tpm::TpmError& refused) {
  const auto state = tpm::lockout_state(tpm);
  if (state.seconds_per_failure == 0) throw refused;
  const auto wait = format_duration(std::chrono::seconds(state.seconds_per_failure));
  throw Error(ErrorKind::pin, "the TPM is locked out after too many wrong PINs, the right one included",
              "wait " + wait + ": it forgets one of " + std::to_string(state.failures) + " failures every " + wait +
                  " that it is powered");
}

}  // namespace

bool needs_pin(const VaultPaths& paths) {
  const auto snapshot = store::Database::open(paths.database()).newest();
  return !snapshot.stage.pin_salt.empty() || tpm::embedded_state_is_encrypted(paths.tpm());
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
                  const PinSource& pin, const std::vector<store::Intent>& wanted) {
  paths.check();
  // Both a PIN-encrypted embedded state and a PIN-bound key may ask: the person is asked once, and before any lock is
  // taken that others wait for.
  std::optional<SecretBytes> asked;
  const PinSource once = [&pin, &asked] {
    if (!asked) asked = pin();
    return asked->clone();
  };
  if (needs_pin(paths)) asked = pin();
  for (bool locked = access == Access::write;; locked = true) {
    Vault vault(paths, locked);
    const auto name = tpm ? *tpm : tpm::TransportName::parse_stored(vault.snapshot_.vault.tpm);
    check_embedded_state(paths, name);
    vault.tpm_ = std::make_unique<tpm::Tpm>(name, paths.tpm(), once);
    vault.unseal(once);
    if (locked) {
      vault.finish_barrier(access);
      vault.catch_up_counter();
      vault.keep_one_pin();
      vault.answer(wanted);
      return vault;
    }
    if (!vault.snapshot_.stage.pending && vault.database_.intents().empty()) return vault;
    // Something to finish: once more, with the vault's lock before the TPM's, as everybody takes them.
  }
}

void Vault::unseal(const PinSource& pin) {
  for (;;) {
    if (!snapshot_.stage.pin_salt.empty() && !auth_) auth_ = scrypt(pin(), snapshot_.stage.pin_salt);
    try {
      master_ = unseal_master(*tpm_, snapshot_, auth_ ? &*auth_ : nullptr);
      return verify_manifest(master_, snapshot_);
    } catch (const tpm::TpmError& error) {
      if (tpm::refusal(error.rc()) == tpm::Refusal::lockout) explain_lockout(*tpm_, error);
      if (tpm::refusal(error.rc()) == tpm::Refusal::auth && !auth_) {
        throw Error(ErrorKind::tpm, "the vault has no PIN, and the TPM says that it is wrong",
                    "do not trust what sits between this machine and its TPM");
      }
      // A barrier may have passed between reading the database and asking the TPM: then there is something newer.
      if (tpm::refusal(error.rc()) != tpm::Refusal::policy) throw;
      auto again = database_.newest();
      if (same_state(again, snapshot_)) throw;
      if (again.stage.pin_salt != snapshot_.stage.pin_salt) auth_.reset();
      snapshot_ = std::move(again);
    }
  }
}

/// A software TPM can lose its newest state: then older copies of the vault would open again.
void Vault::catch_up_counter() {
  if (!protects_against_rollback() || snapshot_.stage.pending) return;
  const auto& [vault, stage, credentials, revoked, policies] = snapshot_;
  std::uint64_t counter = tpm::read_counter(*tpm_, vault.storage_root, vault.counter);
  if (counter == stage.epoch) return;
  if (counter > stage.epoch) {
    throw Error(ErrorKind::integrity, "this vault was changed elsewhere while it was being opened: this copy is old",
                "use the newest copy");
  }
  log::warning("the state of the TPM was rolled back: its epoch is " + std::to_string(counter) + ", the vault's is " +
               std::to_string(stage.epoch) + "; it is moved forward again");
  if (stage.epoch - counter > kMostToCatchUp) {
    throw Error(ErrorKind::integrity, "the TPM's epoch is too far behind the vault's",
                "restore the vault from a backup on this TPM");
  }
  const P256Key key = unwrap_counter_key(master_, stage);
  for (; counter < stage.epoch; ++counter) tpm::increment_counter(*tpm_, vault.storage_root, vault.counter, key);
}

/// A change of the PIN that was cut short leaves two that open the embedded TPM's state: the one that was given stays.
void Vault::keep_one_pin() {
  auto* pins = tpm_->state_pins();
  if (pins != nullptr && pins->count() > 1) pins->keep_the_one_given();
}

/// All that waits, however much of it there is, and what the caller wants besides: that one is never lost, whoever else
/// writes to the table.
void Vault::answer(std::vector<store::Intent> intents) {
  for (int batch = 0; batch < kMostBatches; ++batch) {
    const auto waiting = database_.intents();
    intents.insert(intents.end(), waiting.begin(), waiting.end());
    if (intents.empty()) return;
    make(intents);
    intents.clear();
  }
  throw Error(ErrorKind::failed, "revocations are written faster than they can be made",
              "stop whoever writes to the vault's database, then try again");
}

void Vault::make(const std::vector<store::Intent>& intents) {
  Change change{snapshot_, std::nullopt, intents};
  auto& agents = change.next.revoked_agents;
  for (const auto& intent : intents) {
    if (intent.kind == store::Intent::Kind::rotate && !change.master) rekey(change);
    // Anybody may have written the row: it can take away, but not put nonsense under the MAC.
    if (intent.kind != store::Intent::Kind::revoke_agent || !valid_name(intent.subject)) continue;
    const auto place = std::lower_bound(agents.begin(), agents.end(), intent.subject);
    if (place == agents.end() || *place != intent.subject) agents.insert(place, intent.subject);
  }
  if (!change.master && agents == snapshot_.revoked_agents) return database_.delete_intents(intents);
  barrier(std::move(change));
}

const store::CredentialRow* Vault::find(const std::string& name) const {
  const auto& rows = snapshot_.credentials;
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const auto& row) { return row.name == name; });
  return found == rows.end() ? nullptr : &*found;
}

SecretBytes Vault::secret_of(const store::CredentialRow& row) const {
  return open_credential(master_, snapshot_.vault.id, row);
}

SecretBytes Vault::budget_key() const {
  constexpr std::string_view label = "agentvault budget";
  if (!protects_against_rollback()) return hkdf_sha256(master_.key(), as_bytes(label));
  return hkdf_sha256(unwrap_counter_key(master_, snapshot_.stage).private_der(), as_bytes(label));
}

bool Vault::is_revoked(const std::string& agent) const {
  const auto& agents = snapshot_.revoked_agents;
  return std::find(agents.begin(), agents.end(), agent) != agents.end();
}

}  // namespace agentvault::keys
