#include "store/schema.hpp"

#include <SQLiteCpp/SQLiteCpp.h>

#include <algorithm>
#include <set>
#include <string>
#include <tuple>

#include "base/embedded_file.hpp"
#include "base/error.hpp"

namespace agentvault {
extern const EmbeddedFile kVaultSchema[];
}

namespace agentvault::store {
namespace {

constexpr int kVersion = 2;
constexpr const char* kPutBack = "put a copy of vault.db back that you trust";

/// Type, name, table, and text. A type that is no text is "".
using Objects = std::set<std::tuple<std::string, std::string, std::string, std::string>>;

/// Comments and spaces are nothing that SQLite goes by; versions have written them differently.
std::string essence(const std::string& sql) {
  std::string out;
  for (std::size_t at = 0; at < sql.size(); ++at) {
    if (sql.compare(at, 2, "--") == 0) at = std::min(sql.find('\n', at), sql.size() - 1);
    if (sql[at] != ' ' && sql[at] != '\n') out += sql[at];
  }
  return out;
}

Objects objects_of(SQLite::Database& database) {
  SQLite::Statement query(database, "SELECT type, typeof(type), name, tbl_name, sql FROM sqlite_schema");
  Objects objects;
  while (query.executeStep()) {
    const bool plain = query.getColumn(1).getString() == "text";
    objects.emplace(plain ? query.getColumn(0).getString() : "", query.getColumn(2).getString(),
                    query.getColumn(3).getString(), essence(query.getColumn(4).getString()));
  }
  return objects;
}

/// From version 1: what has come since, word for word.
void upgrade_from_version_1(SQLite::Database& database) {
  SQLite::Database fresh(":memory:", SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
  make_schema(fresh);
  SQLite::Transaction transaction(database, SQLite::TransactionBehavior::IMMEDIATE);
  // Another process may have done it meanwhile.
  if (database.execAndGet("PRAGMA user_version").getInt() != 1) return;
  SQLite::Statement query(fresh, "SELECT sql FROM sqlite_schema WHERE name IN ('policy', 'unannounced') ORDER BY name");
  while (query.executeStep()) database.exec(query.getColumn(0).getString());
  database.exec("PRAGMA user_version = 2");
  transaction.commit();
}

}  // namespace

void make_schema(SQLite::Database& database) {
  for (const auto* schema = kVaultSchema; schema->name != nullptr; ++schema) database.exec(schema->text);
  database.exec("PRAGMA user_version = " + std::to_string(kVersion));
}

void check_schema(SQLite::Database& database) {
  const int version = database.execAndGet("PRAGMA user_version").getInt();
  if (version > kVersion) {
    throw Error(ErrorKind::failed,
                "the vault was written by a newer agentvault (format " + std::to_string(version) + ", this one knows " +
                    std::to_string(kVersion) + ")",
                "update agentvault");
  }
  if (version < 1) throw Error(ErrorKind::integrity, "the file is not a vault's database", kPutBack);
  if (version == 1) upgrade_from_version_1(database);
  // Whoever may write the file could have SQLite do something else than what is asked.
  static const Objects expected = [] {
    SQLite::Database fresh(":memory:", SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    make_schema(fresh);
    return objects_of(fresh);
  }();
  if (objects_of(database) == expected) return;
  throw Error(ErrorKind::integrity, "the vault's database was changed by something other than agentvault", kPutBack);
}

}  // namespace agentvault::store
