// An open vault: its TPM has given the master key, its manifest has been checked. The only way to a stored secret.
//
// A Vault lives in an opener or in one administrative command and must not outlive it: it holds the master key, and
// with the embedded TPM also that TPM's lock.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "base/file.hpp"
#include "keys/master_key.hpp"
#include "keys/vault_paths.hpp"
#include "store/database.hpp"
#include "tpm/pcr.hpp"
#include "tpm/tpm.hpp"

namespace agentvault::keys {

/// Asked at most once, and only when the vault has a PIN.
using PinSource = tpm::PinSource;

struct NewCredential {
  std::string name;
  std::string binding;  // JSON, canonical
  SecretBytes secret;
};

/// Whether opening it will ask for a PIN. Unverified.
bool needs_pin(const VaultPaths& paths);

enum class Access {
  read,   // what `exec` does: writes nothing unless something unfinished must be finished first
  write,  // holds vault.lock for its life
};

class Vault {
 public:
  /// Finishes what was left unfinished: a barrier that was cut short, a revocation that could not be made yet. `tpm`
  /// overrides the stored transport; `intents` are made besides those that wait in the database (with Access::write).
  static Vault open(const VaultPaths& paths, Access access, const std::optional<tpm::TransportName>& tpm,
                    const PinSource& pin, const std::vector<store::Intent>& intents = {});

  const store::Snapshot& snapshot() const { return snapshot_; }
  const store::CredentialRow* find(const std::string& name) const;
  /// Throws Error(integrity) when the row does not decrypt.
  SecretBytes secret_of(const store::CredentialRow& row) const;
  bool is_revoked(const std::string& agent) const;
  /// False: made without a counter, every old copy opens.
  bool protects_against_rollback() const { return !snapshot_.vault.counter.empty(); }

  // What follows needs Access::write. Where it says "barrier", no older copy of the vault opens on this TPM once it has
  // returned.

  /// A first add takes no authority away: no barrier. Throws Error(failed) for a name that is taken.
  void add(const NewCredential& credential);
  /// A barrier.
  void replace(const NewCredential& credential);
  /// A barrier.
  void remove(const std::string& name);
  /// A barrier: new master key and generation, every credential encrypted anew. With `pcrs`, bound to those registers
  /// as they are now, or to none when it is empty.
  void rotate(const std::optional<tpm::PcrSelection>& pcrs = std::nullopt);
  /// Gives back what a revocation took from an agent. Takes nothing away: no barrier.
  void readmit(const std::string& agent);
  /// A barrier. All policies from now on, one for each path and agent. Agents in `readmitted` get back what a
  /// revocation took from them. Throws Error(usage) for more than sessions take (512 KiB).
  void set_policies(std::vector<store::PolicyRow> policies, const std::vector<std::string>& readmitted);
  /// Whether running sessions may not have been told of this vault's policies, and that they have.
  bool has_news() { return database_.has_news(); }
  void clear_news() { database_.clear_news(snapshot_.stage); }
  /// A barrier.
  void change_pin(const SecretBytes& pin);
  /// A barrier, unless none was set before. `old`: asked where one is set. Throws Error(pin) when it is not that one.
  void set_recovery_passphrase(const PinSource& old, const SecretBytes& fresh);
  /// Every credential into one file that the recovery passphrase opens anywhere.
  void backup(const std::filesystem::path& file);
  bool is_backed_up(const store::CredentialRow& row) { return database_.is_backed_up(row); }

  /// For what is counted outside of the manifest (schemas/budget.md).
  SecretBytes budget_key() const;
  const MasterKey& master() const { return master_; }
  const VaultPaths& paths() const { return paths_; }
  tpm::Tpm& tpm() { return *tpm_; }

 private:
  /// What a barrier makes of the vault.
  struct Change {
    store::Snapshot next;
    std::optional<MasterKey> master;  // another one than now
    std::vector<store::Intent> answered = {};
    bool news = false;  // to running sessions
  };

  Vault(VaultPaths paths, bool locked);
  void take_lock();
  void unseal(const PinSource& pin);
  void catch_up_counter();
  void keep_one_pin();
  void answer(std::vector<store::Intent> intents);
  void make(const std::vector<store::Intent>& intents);

  void rekey(Change& change) const;
  /// A change that needs no barrier: the same epoch.
  void write(store::Snapshot next);
  /// Stages the change under a new epoch, moves the counter there, promotes it.
  void barrier(Change change);
  void finish_barrier(Access access);
  std::optional<Error> enter_and_advance();
  void promote();
  void require_finished() const;
  VaultPaths paths_;
  std::optional<FileLock> lock_;
  store::Database database_;
  store::Snapshot snapshot_;
  std::unique_ptr<tpm::Tpm> tpm_;
  std::optional<SecretBytes> auth_;  // the stretched PIN, kept for sealing again
  MasterKey master_{SecretBytes()};
};

}  // namespace agentvault::keys
