#include "store/database.hpp"

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include "base/error.hpp"
#include "base/installed_group.hpp"
#include "base/log.hpp"
#include "store/schema.hpp"

namespace agentvault::store {
namespace {

constexpr int kBusyMilliseconds = 10'000;
constexpr int kMaxValueSize = 1 << 20;

/// What SQLite reports, in the words of the person who reads it.
[[noreturn]] void explain(const SQLite::Exception& error) {
  switch (error.getErrorCode()) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_SCHEMA:
    case SQLITE_TOOBIG:
    case SQLITE_ERROR:  // a table or column that is not there
    case SQLITE_MISMATCH:
    case SQLITE_CONSTRAINT:
      throw Error(ErrorKind::integrity, std::string("the vault's database is damaged: ") + error.what(),
                  "put a copy of vault.db back that you trust");
    case SQLITE_FULL:
      throw Error(ErrorKind::failed, "the disk is full", "free some space, then try again");
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
      throw Error(ErrorKind::failed, std::string("cannot write the vault's database: ") + error.what(),
                  "is the file system read-only, or does the vault belong to another user?");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      throw Error(ErrorKind::failed, "another process is using the vault's database", "wait for it, then try again");
    default:
      throw Error(ErrorKind::failed, std::string("the vault's database failed: ") + error.what(),
                  "is the disk full, or damaged?");
  }
}

[[noreturn]] void not_kept() {
  throw Error(ErrorKind::integrity, "the vault's database does not keep what is written to it",
              "put a copy of vault.db back that you trust");
}

template <class Work>
auto guarded(Work work) {
  const WithInstalledGroup raised;  // SQLite opens its files by their names, whenever it wants them
  try {
    return work();
  } catch (const SQLite::Exception& error) {
    explain(error);
  }
}

/// A folder that is reached through a descriptor looks like a link to SQLite; there nobody else could have made one.
int no_links() {
  return InstalledGroup::held() < 0 ? SQLite::OPEN_NOFOLLOW : 0;
}

/// SQLite would wait for whoever writes into a pipe.
void refuse_special_files(const std::filesystem::path& file) {
  for (const char* suffix : {"", "-journal", "-wal", "-shm"}) {
    std::error_code error;
    const auto status = std::filesystem::symlink_status(file.string() + suffix, error);
    if (!std::filesystem::exists(status) || std::filesystem::is_regular_file(status)) continue;
    if (*suffix == '\0' && std::filesystem::is_symlink(status)) continue;  // SQLite's to say
    throw Error(ErrorKind::integrity, file.string() + suffix + " is no regular file", "remove it, then try again");
  }
}

void configure(SQLite::Database& database) {
  sqlite3_limit(database.getHandle(), SQLITE_LIMIT_LENGTH, kMaxValueSize);
  database.setBusyTimeout(kBusyMilliseconds);
  // The schema of a file somebody else wrote must not make SQLite do anything.
  for (const auto& [what, on] :
       {std::pair{SQLITE_DBCONFIG_DEFENSIVE, 1}, std::pair{SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
        std::pair{SQLITE_DBCONFIG_ENABLE_TRIGGER, 0}, std::pair{SQLITE_DBCONFIG_ENABLE_VIEW, 0}}) {
    sqlite3_db_config(database.getHandle(), what, on, nullptr);
  }
  database.exec(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA foreign_keys = ON");
}

Bytes blob(const SQLite::Column& column) {
  const auto* data = static_cast<const std::uint8_t*>(column.getBlob());
  return {data, data + column.getBytes()};
}

std::uint64_t number(const SQLite::Column& column) {
  return static_cast<std::uint64_t>(column.getInt64());
}

void bind(SQLite::Statement& statement, int at, const Bytes& value) {
  // A null pointer would bind NULL.
  statement.bind(at, value.empty() ? "" : static_cast<const void*>(value.data()), static_cast<int>(value.size()));
}

VaultRow read_vault(SQLite::Database& database) {
  SQLite::Statement query(database, "SELECT id, created, tpm, storage_root, counter, register FROM vault");
  if (!query.executeStep()) {
    throw Error(ErrorKind::integrity, "the vault's database is empty", "put a copy of vault.db back that you trust");
  }
  return {blob(query.getColumn(0)), query.getColumn(1).getInt64(), query.getColumn(2).getString(),
          blob(query.getColumn(3)), blob(query.getColumn(4)),      blob(query.getColumn(5))};
}

StageRow read_stage(SQLite::Database& database, bool newest) {
  SQLite::Statement query(database,
                          std::string("SELECT epoch, state, generation, sequence, sealed_public, sealed_private, "
                                      "pin_salt, pcrs, pcr_digest, counter_key, recovery_salt, recovery_key, "
                                      "entered_after, previous, mac FROM stage ") +
                              (newest ? "ORDER BY state = 'pending' DESC" : "WHERE state = 'current'"));
  if (!query.executeStep()) {
    throw Error(ErrorKind::integrity, "the vault has no sealed key", "put a copy of vault.db back that you trust");
  }
  StageRow row;
  row.epoch = number(query.getColumn(0));
  row.pending = query.getColumn(1).getString() == "pending";
  row.generation = number(query.getColumn(2));
  row.sequence = number(query.getColumn(3));
  row.sealed_public = blob(query.getColumn(4));
  row.sealed_private = blob(query.getColumn(5));
  row.pin_salt = blob(query.getColumn(6));
  row.pcrs = query.getColumn(7).getString();
  row.pcr_digest = blob(query.getColumn(8));
  row.counter_key = blob(query.getColumn(9));
  row.recovery_salt = blob(query.getColumn(10));
  row.recovery_key = blob(query.getColumn(11));
  row.entered_after = blob(query.getColumn(12));
  row.previous = blob(query.getColumn(13));
  row.mac = blob(query.getColumn(14));
  return row;
}

std::vector<CredentialRow> read_credentials(SQLite::Database& database, std::uint64_t epoch) {
  SQLite::Statement query(database,
                          "SELECT id, name, version, binding, secret, created, changed FROM credential WHERE epoch = ? "
                          "ORDER BY name");
  query.bind(1, static_cast<std::int64_t>(epoch));
  std::vector<CredentialRow> rows;
  while (query.executeStep()) {
    rows.push_back({blob(query.getColumn(0)), query.getColumn(1).getString(), number(query.getColumn(2)),
                    query.getColumn(3).getString(), blob(query.getColumn(4)), query.getColumn(5).getInt64(),
                    query.getColumn(6).getInt64()});
  }
  return rows;
}

std::vector<std::string> read_revoked_agents(SQLite::Database& database, std::uint64_t epoch) {
  SQLite::Statement query(database, "SELECT agent FROM revocation WHERE epoch = ? ORDER BY agent");
  query.bind(1, static_cast<std::int64_t>(epoch));
  std::vector<std::string> agents;
  while (query.executeStep()) agents.push_back(query.getColumn(0).getString());
  return agents;
}

std::vector<PolicyRow> read_policies(SQLite::Database& database, std::uint64_t epoch) {
  SQLite::Statement query(database, "SELECT path, agent, text FROM policy WHERE epoch = ? ORDER BY path, agent");
  query.bind(1, static_cast<std::int64_t>(epoch));
  std::vector<PolicyRow> rows;
  while (query.executeStep()) {
    rows.push_back({query.getColumn(0).getString(), query.getColumn(1).getString(), query.getColumn(2).getString()});
  }
  return rows;
}

void write_stage_row(SQLite::Database& database, const StageRow& stage) {
  SQLite::Statement insert(database, "INSERT INTO stage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  insert.bind(1, static_cast<std::int64_t>(stage.epoch));
  insert.bind(2, stage.pending ? "pending" : "current");
  insert.bind(3, static_cast<std::int64_t>(stage.generation));
  insert.bind(4, static_cast<std::int64_t>(stage.sequence));
  bind(insert, 5, stage.sealed_public);
  bind(insert, 6, stage.sealed_private);
  bind(insert, 7, stage.pin_salt);
  insert.bind(8, stage.pcrs);
  bind(insert, 9, stage.pcr_digest);
  bind(insert, 10, stage.counter_key);
  bind(insert, 11, stage.recovery_salt);
  bind(insert, 12, stage.recovery_key);
  bind(insert, 13, stage.entered_after);
  bind(insert, 14, stage.previous);
  bind(insert, 15, stage.mac);
  insert.exec();
}

void write_credentials(SQLite::Database& database, const Snapshot& snapshot) {
  SQLite::Statement add(database, "INSERT INTO credential VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  for (const auto& row : snapshot.credentials) {
    add.bind(1, static_cast<std::int64_t>(snapshot.stage.epoch));
    bind(add, 2, row.id);
    add.bind(3, row.name);
    add.bind(4, static_cast<std::int64_t>(row.version));
    add.bind(5, row.binding);
    bind(add, 6, row.secret);
    add.bind(7, row.created);
    add.bind(8, row.changed);
    add.exec();
    add.reset();
  }
}

void write_revoked_agents(SQLite::Database& database, const Snapshot& snapshot) {
  SQLite::Statement add(database, "INSERT INTO revocation VALUES (?, ?)");
  for (const auto& agent : snapshot.revoked_agents) {
    add.bind(1, static_cast<std::int64_t>(snapshot.stage.epoch));
    add.bind(2, agent);
    add.exec();
    add.reset();
  }
}

void write_policies(SQLite::Database& database, const Snapshot& snapshot) {
  SQLite::Statement add(database, "INSERT INTO policy VALUES (?, ?, ?, ?)");
  for (const auto& row : snapshot.policies) {
    add.bind(1, static_cast<std::int64_t>(snapshot.stage.epoch));
    add.bind(2, row.path);
    add.bind(3, row.agent);
    add.bind(4, row.text);
    add.exec();
    add.reset();
  }
}

void note_news(SQLite::Database& database, const StageRow& stage) {
  SQLite::Statement insert(database, "INSERT OR REPLACE INTO unannounced VALUES (1, ?, ?)");
  insert.bind(1, static_cast<std::int64_t>(stage.epoch));
  insert.bind(2, static_cast<std::int64_t>(stage.sequence));
  insert.exec();
}

const char* kind_text(Intent::Kind kind) {
  return kind == Intent::Kind::rotate ? "rotate" : "revoke-agent";
}

void remove_intents(SQLite::Database& database, const std::vector<Intent>& answered) {
  SQLite::Statement remove(database, "DELETE FROM intent WHERE kind = ? AND subject = ?");
  for (const auto& intent : answered) {
    remove.bind(1, kind_text(intent.kind));
    remove.bind(2, intent.subject);
    remove.exec();
    remove.reset();
  }
}

}  // namespace

Database::Database(std::unique_ptr<SQLite::Database> database, const std::filesystem::path& file)
    : database_(std::move(database)), reserved_(reserved_beside(file)) {}
Database::Database(Database&&) noexcept = default;
Database::~Database() {
  const WithInstalledGroup raised;
  database_.reset();
}

Database Database::create(const std::filesystem::path& file) {
  return guarded([&] {
    auto database =
        std::make_unique<SQLite::Database>(file.string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE | no_links());
    configure(*database);
    SQLite::Transaction transaction(*database);
    make_schema(*database);
    transaction.commit();
    reserved_beside(file).reserve();
    return Database(std::move(database), file);
  });
}

ReservedIntents Database::reserved_beside(const std::filesystem::path& file) {
  return ReservedIntents(std::filesystem::path(file).replace_filename("revocations"));
}

Database Database::open(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::exists(file, error)) {
    throw Error(ErrorKind::not_found, "there is no vault at " + file.parent_path().string(),
                "make one with \"agentvault init\"");
  }
  refuse_special_files(file);
  return guarded([&] {
    auto database = std::make_unique<SQLite::Database>(file.string(), SQLite::OPEN_READWRITE | no_links());
    configure(*database);
    check_schema(*database);
    return Database(std::move(database), file);
  });
}

Snapshot Database::newest() {
  return read(true);
}
Snapshot Database::current() {
  return read(false);
}

Snapshot Database::read(bool newest) {
  return guarded([&] {
    SQLite::Transaction transaction(*database_);
    Snapshot snapshot;
    snapshot.vault = read_vault(*database_);
    snapshot.stage = read_stage(*database_, newest);
    snapshot.credentials = read_credentials(*database_, snapshot.stage.epoch);
    snapshot.revoked_agents = read_revoked_agents(*database_, snapshot.stage.epoch);
    snapshot.policies = read_policies(*database_, snapshot.stage.epoch);
    return snapshot;
  });
}

void Database::write_vault(const VaultRow& vault) {
  guarded([&] {
    SQLite::Statement insert(*database_, "INSERT OR REPLACE INTO vault VALUES (1, ?, ?, ?, ?, ?, ?)");
    bind(insert, 1, vault.id);
    insert.bind(2, vault.created);
    insert.bind(3, vault.tpm);
    bind(insert, 4, vault.storage_root);
    bind(insert, 5, vault.counter);
    bind(insert, 6, vault.stage_register);
    insert.exec();
  });
}

void Database::write_stage(const Snapshot& snapshot, const std::vector<Intent>& answered, bool news) {
  guarded([&] {
    SQLite::Transaction transaction(*database_);
    SQLite::Statement remove(*database_, "DELETE FROM stage WHERE epoch = ?");
    remove.bind(1, static_cast<std::int64_t>(snapshot.stage.epoch));
    remove.exec();
    write_stage_row(*database_, snapshot.stage);
    write_credentials(*database_, snapshot);
    write_revoked_agents(*database_, snapshot);
    write_policies(*database_, snapshot);
    if (news) note_news(*database_, snapshot.stage);
    remove_intents(*database_, answered);
    transaction.commit();
  });
  // Nothing is built on what was not kept: no counter moves for it.
  if (!(newest() == snapshot)) not_kept();
  reserved_.remove(answered);
  try {
    reserved_.reserve();  // vaults of older programs have none
  } catch (const Error& error) {
    log::warning(std::string("no room is kept for revoking on a full disk: ") + error.what());
  }
}

void Database::promote(const Bytes& mac) {
  guarded([&] {
    SQLite::Transaction transaction(*database_);
    database_->exec("DELETE FROM stage WHERE state = 'current'");
    SQLite::Statement update(*database_, "UPDATE stage SET state = 'current', mac = ? WHERE state = 'pending'");
    bind(update, 1, mac);
    update.exec();
    transaction.commit();
  });
  try {
    // The replaced stage also leaves the write-ahead log. Busy readers only postpone that.
    database_->exec("PRAGMA wal_checkpoint(TRUNCATE)");
  } catch (const SQLite::Exception&) {
  }
}

bool Database::has_news() {
  return guarded([&] { return SQLite::Statement(*database_, "SELECT 1 FROM unannounced").executeStep(); });
}

void Database::clear_news(const StageRow& stage) {
  guarded([&] {
    SQLite::Statement remove(*database_, "DELETE FROM unannounced WHERE epoch = ? AND sequence = ?");
    remove.bind(1, static_cast<std::int64_t>(stage.epoch));
    remove.bind(2, static_cast<std::int64_t>(stage.sequence));
    remove.exec();
  });
}

std::vector<Intent> Database::intents() {
  return guarded([&] {
    SQLite::Statement query(*database_, "SELECT kind, subject FROM intent ORDER BY kind = 'rotate' DESC LIMIT 100000");
    std::vector<Intent> found;
    while (query.executeStep()) {
      const bool rotate = query.getColumn(0).getString() == kind_text(Intent::Kind::rotate);
      found.push_back({rotate ? Intent::Kind::rotate : Intent::Kind::revoke_agent, query.getColumn(1).getString()});
    }
    for (const auto& intent : reserved_.all()) found.push_back(intent);
    return found;
  });
}

void Database::write_intent(const Intent& intent) {
  guarded([&] {
    SQLite::Statement insert(*database_, "INSERT OR REPLACE INTO intent VALUES (?, ?)");
    insert.bind(1, kind_text(intent.kind));
    insert.bind(2, intent.subject);
    insert.exec();
    SQLite::Statement query(*database_, "SELECT 1 FROM intent WHERE kind = ? AND subject = ?");
    query.bind(1, kind_text(intent.kind));
    query.bind(2, intent.subject);
    if (!query.executeStep()) not_kept();
  });
}

void Database::delete_intents(const std::vector<Intent>& answered) {
  guarded([&] { remove_intents(*database_, answered); });
  reserved_.remove(answered);
}

void Database::mark_backed_up(const std::vector<CredentialRow>& rows) {
  guarded([&] {
    SQLite::Transaction transaction(*database_);
    database_->exec("DELETE FROM backed_up");
    SQLite::Statement insert(*database_, "INSERT INTO backed_up VALUES (?, ?)");
    for (const auto& row : rows) {
      bind(insert, 1, row.id);
      insert.bind(2, static_cast<std::int64_t>(row.version));
      insert.exec();
      insert.reset();
    }
    transaction.commit();
  });
}

bool Database::is_backed_up(const CredentialRow& row) {
  return guarded([&] {
    SQLite::Statement query(*database_, "SELECT 1 FROM backed_up WHERE credential = ? AND version = ?");
    bind(query, 1, row.id);
    query.bind(2, static_cast<std::int64_t>(row.version));
    return query.executeStep();
  });
}

}  // namespace agentvault::store
