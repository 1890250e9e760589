// The vault's database: the only place that knows SQL (schemas/vault.sql). It stores and returns rows; what they are
// worth is for libvault/keys to find out.
//
// SQLite in WAL mode with synchronous=FULL: a committed transaction survives a power cut. secure_delete: what is
// replaced is overwritten. Changes of one snapshot are one transaction.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "store/intent.hpp"
#include "store/reserved_intents.hpp"

namespace SQLite {
class Database;
}

namespace agentvault::store {

struct VaultRow {
  Bytes id;
  std::int64_t created = 0;
  std::string tpm;
  Bytes storage_root;
  Bytes counter;
  Bytes stage_register;
  bool operator==(const VaultRow&) const = default;
};

struct StageRow {
  std::uint64_t epoch = 0;
  bool pending = false;
  std::uint64_t generation = 0;
  std::uint64_t sequence = 0;
  Bytes sealed_public;
  Bytes sealed_private;
  Bytes pin_salt;
  std::string pcrs;
  Bytes pcr_digest;
  Bytes counter_key;
  Bytes recovery_salt;
  Bytes recovery_key;
  Bytes entered_after;
  Bytes previous;
  Bytes mac;
  bool operator==(const StageRow&) const = default;
};

struct CredentialRow {
  Bytes id;
  std::string name;
  std::uint64_t version = 0;
  std::string binding;
  Bytes secret;
  std::int64_t created = 0;
  std::int64_t changed = 0;
  bool operator==(const CredentialRow&) const = default;
};

/// A policy that counts (schemas/vault.sql).
struct PolicyRow {
  std::string path;
  std::string agent;
  std::string text;
  bool operator==(const PolicyRow&) const = default;
};

/// One stage and all that belongs to it, read in one transaction. Credentials and agents are ordered by name,
/// policies by path and agent.
struct Snapshot {
  VaultRow vault;
  StageRow stage;
  std::vector<CredentialRow> credentials;
  std::vector<std::string> revoked_agents;
  std::vector<PolicyRow> policies;
  bool operator==(const Snapshot&) const = default;
};

class Database {
 public:
  /// Makes the file and its tables. Throws when there is one.
  static Database create(const std::filesystem::path& file);
  /// Throws Error(not_found) without a file, Error(integrity) for one that is damaged, and Error(failed) for a schema
  /// newer than this program knows.
  static Database open(const std::filesystem::path& file);

  /// Of the database in this file, whether or not it can be opened.
  static ReservedIntents reserved_beside(const std::filesystem::path& file);

  Database(Database&&) noexcept;
  ~Database();

  /// The newest stage: the pending one where there is one.
  Snapshot newest();
  /// The current stage, also while another one is pending.
  Snapshot current();

  void write_vault(const VaultRow& vault);
  /// Writes the snapshot's stage whole, replacing the one of the same epoch. In the same transaction the intents that
  /// it answers go, and where its policies are news to running sessions, that is noted. Throws Error(integrity) when
  /// the database holds something else afterwards.
  void write_stage(const Snapshot& snapshot, const std::vector<Intent>& answered = {}, bool news = false);
  /// Makes the pending stage the current one, under its new MAC, and deletes what it replaces.
  void promote(const Bytes& mac);

  /// Whether running sessions may not have heard of the newest policies.
  bool has_news();
  /// They have heard of what this stage holds.
  void clear_news(const StageRow& stage);

  /// At most 100 000 of those that wait in the tables, and those in reserve.
  std::vector<Intent> intents();
  void write_intent(const Intent& intent);
  void delete_intents(const std::vector<Intent>& answered);

  /// Remembers what a backup holds, and tells which credentials it does not.
  void mark_backed_up(const std::vector<CredentialRow>& rows);
  bool is_backed_up(const CredentialRow& row);

 private:
  Database(std::unique_ptr<SQLite::Database> database, const std::filesystem::path& file);
  Snapshot read(bool newest);
  std::unique_ptr<SQLite::Database> database_;
  ReservedIntents reserved_;
};

}  // namespace agentvault::store
