// The recovery passphrase, and backups that it opens on any machine (schemas/backup.md). A vault keeps what its
// passphrase stretches to, wrapped under the master key: writing a backup asks for nothing.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "keys/master_key.hpp"
#include "keys/vault_init.hpp"
#include "store/database.hpp"

namespace agentvault::keys {

/// Into the stage, before its MAC is made.
void set_recovery_passphrase(const MasterKey& master, const SecretBytes& passphrase, store::StageRow& stage);
/// Whether it is the one that is set.
bool is_recovery_passphrase(const MasterKey& master, const SecretBytes& passphrase, const store::StageRow& stage);

/// Writes every credential, at once or not at all. Throws Error(usage) while no passphrase is set.
void write_backup(const MasterKey& master, const store::Snapshot& snapshot, const std::filesystem::path& file);

/// A backup whose passphrase was right and in which every byte is as it was written.
class Backup {
 public:
  /// Throws Error(not_found), Error(pin) for a wrong passphrase, Error(integrity) for a file that was cut or changed.
  static Backup open(const std::filesystem::path& file, const PinSource& passphrase);

  std::int64_t made() const { return made_; }
  std::size_t size() const { return entries_.size(); }
  const std::vector<std::string>& revoked_agents() const { return revoked_agents_; }
  const std::vector<store::PolicyRow>& policies() const { return policies_; }
  /// One after the other, so that their secrets need not be in memory all at once.
  void each(const CredentialSink& sink) const;

 private:
  Bytes contents_;
  std::vector<ByteView> entries_;  // into contents_
  SecretBytes key_;
  std::int64_t made_ = 0;
  std::vector<std::string> revoked_agents_;
  std::vector<store::PolicyRow> policies_;
};

}  // namespace agentvault::keys
