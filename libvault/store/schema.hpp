// The tables of the vault's database (schemas/vault.sql): made, brought up to date, and compared whole with what they
// should be.
#pragma once

namespace SQLite {
class Database;
}

namespace agentvault::store {

/// In an empty database. To be called inside a transaction.
void make_schema(SQLite::Database& database);

/// Throws Error(integrity) for a database that was never a vault's, or whose tables are not the ones that this program
/// makes; Error(failed) for one that a newer program has written. Upgrades older ones.
void check_schema(SQLite::Database& database);

}  // namespace agentvault::store
