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

#include "base/file.hpp"
#include "keys/master_key.hpp"
#include "keys/vault_paths.hpp"
#include "store/database.hpp"
#include "tpm/sealed_key.hpp"
#include "tpm/tpm.hpp"

namespace agentvault::keys {

/// Asked at most once, and only when the vault has a PIN.
using PinSource = tpm::PinSource;

struct NewVault {
  VaultPaths paths;
  tpm::TransportName tpm;
  /// With one, the PIN must be given to open the vault: asked here once.
  std::optional<SecretBytes> pin;
};

/// Makes a vault, or nothing: it is built beside its place and moved there last.
void create_vault(const NewVault& wanted);

struct NewCredential {
  std::string name;
  std::string binding;  // JSON, canonical
  SecretBytes secret;
};

enum class Access {
  read,   // what `exec` does: writes nothing unless an unfinished barrier must be finished first
  write,  // holds vault.lock for its life
};

class Vault {
 public:
  /// Finishes a barrier that somebody left unfinished. `tpm` overrides the stored transport.
  static Vault open(const VaultPaths& paths, Access access, const std::optional<tpm::TransportName>& tpm,
                    const PinSource& pin);

  const store::Snapshot& snapshot() const { return snapshot_; }
  const store::CredentialRow* find(const std::string& name) const;
  /// Throws Error(integrity) when the row does not decrypt.
  SecretBytes secret_of(const store::CredentialRow& row) const;

  /// A first add takes no authority away: no barrier. Throws Error(failed) for a name that is taken.
  void add(const NewCredential& credential);
  /// A barrier: once it returns, no older copy of the vault opens on this TPM.
  void replace(const NewCredential& credential);
  /// A barrier.
  void remove(const std::string& name);

  const MasterKey& master() const { return master_; }
  tpm::Tpm& tpm() { return *tpm_; }

 private:
  Vault(VaultPaths paths, bool locked);
  void take_lock();
  void unseal(const PinSource& pin);
  void finish_barrier(Access access);
  void promote();
  /// Stages `next` under a new epoch, moves the counter there, promotes it.
  void barrier(store::Snapshot next);
  store::CredentialRow encrypt(const NewCredential& credential, const Bytes& id, std::uint64_t version) const;

  VaultPaths paths_;
  std::optional<FileLock> lock_;
  store::Database database_;
  store::Snapshot snapshot_;
  std::unique_ptr<tpm::Tpm> tpm_;
  std::optional<SecretBytes> auth_;  // the stretched PIN, kept for sealing again
  MasterKey master_{SecretBytes()};
};

/// How the master key is sealed on this kind of TPM.
tpm::DictionaryAttack dictionary_attack_for(const tpm::TransportName& name);

}  // namespace agentvault::keys
