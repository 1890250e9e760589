#include <algorithm>
#include <fstream>
#include <map>
#include <random>

#include <SQLiteCpp/SQLiteCpp.h>

#include "base/error.hpp"
#include "catch.hpp"
#include "keys/manifest.hpp"
#include "keys/vault.hpp"
#include "keys/vault_init.hpp"
#include "scratch.hpp"

using namespace agentvault;
using namespace agentvault::keys;
namespace fs = std::filesystem;

namespace {

const tpm::TransportName kEmbedded{tpm::TransportKind::embedded, ""};

SecretBytes no_pin() {
  throw Error(ErrorKind::pin, "asked for a PIN");
}
SecretBytes secret(std::string_view text) {
  return SecretBytes::copy_of(as_bytes(text));
}

struct TestVault {
  TestVault() : paths{scratch / "vault"} { create_vault({.paths = paths, .tpm = kEmbedded, .owner_password = {}}); }
  Vault open(Access access = Access::write) const { return Vault::open(paths, access, std::nullopt, no_pin); }
  Bytes database() const { return *read_file(paths.database(), 1 << 24); }
  void put_database(const Bytes& contents) const {
    for (const char* ending : {"-wal", "-shm"}) fs::remove(paths.database().string() + ending);
    std::ofstream(paths.database(), std::ios::binary | std::ios::trunc)
        .write(reinterpret_cast<const char*>(contents.data()), static_cast<std::streamsize>(contents.size()));
  }
  void sql(const std::string& statement) const {
    SQLite::Database database(paths.database().string(), SQLite::OPEN_READWRITE);
    database.exec(statement);
  }
  std::string secret_of(const std::string& name) const {
    const auto vault = open(Access::read);
    return std::string(as_text(vault.secret_of(*vault.find(name)).reveal()));
  }

  Scratch scratch;
  VaultPaths paths;
};

NewCredential credential(const std::string& name, std::string_view value) {
  return {name, "{\"b\":1}", secret(value)};
}

ErrorKind kind_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.kind();
  }
  FAIL("no error");
  return ErrorKind::failed;
}

}  // namespace

TEST_CASE("a vault gives back what was stored") {
  const TestVault test;
  test.open().add(credential("a", "value a"));
  test.open().add(credential("b", "value b"));
  CHECK(test.secret_of("a") == "value a");
  CHECK(test.secret_of("b") == "value b");
  CHECK(kind_of([&] { test.open().add(credential("a", "x")); }) == ErrorKind::failed);
  CHECK(kind_of([&] { test.open().remove("none"); }) == ErrorKind::not_found);
  CHECK(kind_of([&] { test.open().replace(credential("none", "x")); }) == ErrorKind::not_found);
  CHECK(kind_of([&] { create_vault({.paths = test.paths, .tpm = kEmbedded, .owner_password = {}}); }) ==
        ErrorKind::failed);
}

TEST_CASE("no secret lies in the database in clear") {
  const TestVault test;
  test.open().add(credential("a", "a very visible secret"));
  const Bytes contents = test.database();
  CHECK(as_text(contents).find("a very visible secret") == std::string_view::npos);
}

TEST_CASE("replacing keeps the binding's id and raises its version; opening for reading writes nothing") {
  const TestVault test;
  test.open().add(credential("a", "old"));
  const auto before = test.open(Access::read).find("a")->id;
  test.open().replace(credential("a", "new"));
  const Bytes stored = test.database();
  {
    const auto vault = test.open(Access::read);
    CHECK(vault.find("a")->id == before);
    CHECK(vault.find("a")->version == 2);
  }
  CHECK(test.secret_of("a") == "new");
  CHECK(test.database() == stored);
}

TEST_CASE("a copy from before a barrier opens no more; one from before a first add does") {
  const TestVault test;
  const Bytes empty = test.database();
  test.open().add(credential("a", "value"));
  const Bytes with_a = test.database();
  test.put_database(empty);
  CHECK_NOTHROW(test.open());  // a first add takes no authority away
  test.put_database(with_a);
  test.open().remove("a");
  const Bytes after = test.database();
  for (const Bytes* old : {&empty, &with_a}) {
    test.put_database(*old);
    CHECK(kind_of([&] { test.open(Access::read); }) == ErrorKind::integrity);
  }
  test.put_database(after);
  CHECK(test.open(Access::read).snapshot().credentials.empty());
}

TEST_CASE("every changed column of every table is noticed") {
  const TestVault test;
  test.open().add(credential("a", "value a"));
  test.open().add(credential("b", "value b"));
  const Bytes good = test.database();
  const char* changes[] = {
      "UPDATE vault SET id = randomblob(16)",
      "UPDATE vault SET storage_root = randomblob(length(storage_root))",
      "UPDATE vault SET counter = randomblob(length(counter))",
      "UPDATE vault SET tpm = 'cmd:true'",
      "UPDATE vault SET tpm = 'nonsense'",
      "DELETE FROM vault",
      "UPDATE stage SET epoch = epoch + 1; UPDATE credential SET epoch = epoch + 1",
      "UPDATE stage SET generation = 2",
      "UPDATE stage SET sequence = sequence + 1",
      "UPDATE stage SET sequence = sequence - 1",
      "UPDATE stage SET pin_salt = x'00'",
      "UPDATE stage SET counter_key = randomblob(length(counter_key))",
      "UPDATE stage SET previous = x''",
      "UPDATE stage SET mac = randomblob(32)",
      "UPDATE stage SET mac = x''",
      "DELETE FROM stage",
      "UPDATE stage SET state = 'pending'",
      "UPDATE credential SET binding = '{\"b\":2}' WHERE name = 'a'",
      "UPDATE credential SET version = 2 WHERE name = 'a'",
      "UPDATE credential SET name = 'c' WHERE name = 'a'",
      "UPDATE credential SET id = randomblob(16) WHERE name = 'a'",
      "UPDATE credential SET secret = randomblob(length(secret)) WHERE name = 'a'",
      "UPDATE credential SET secret = (SELECT secret FROM credential WHERE name = 'b') WHERE name = 'a'",
      "UPDATE credential SET created = created + 1 WHERE name = 'a'",
      "DELETE FROM credential WHERE name = 'a'",
      "INSERT INTO credential SELECT epoch, randomblob(16), 'c', version, binding, secret, created, changed FROM "
      "credential WHERE name = 'a'",
      "DROP TABLE credential",
  };
  for (const char* change : changes) {
    INFO(change);
    test.put_database(good);
    test.sql(std::string("PRAGMA foreign_keys = OFF; ") + change);
    const auto kind = kind_of([&] { test.open(Access::read); });
    // A foreign TPM reference fails at the TPM itself.
    CHECK((kind == ErrorKind::integrity || kind == ErrorKind::tpm || kind == ErrorKind::pin));
  }
  test.put_database(good);
  CHECK(test.secret_of("a") == "value a");
}

TEST_CASE("sealed keys of another epoch or another vault are refused") {
  const TestVault test, other;
  test.open().add(credential("a", "value"));
  other.open().add(credential("a", "other"));
  const auto theirs = other.open(Access::read).snapshot();
  const Bytes good = test.database();
  {
    SQLite::Database database(test.paths.database().string(), SQLite::OPEN_READWRITE);
    SQLite::Statement update(database,
                             "UPDATE stage SET sealed_public = ?, sealed_private = ?, counter_key = ?, mac = ?");
    const auto& stage = theirs.stage;
    int at = 1;
    for (const auto* blob : {&stage.sealed_public, &stage.sealed_private, &stage.counter_key, &stage.mac})
      update.bind(at++, blob->data(), static_cast<int>(blob->size()));
    update.exec();
  }
  CHECK_THROWS_AS(test.open(Access::read), Error);
  test.put_database(good);
  CHECK(test.secret_of("a") == "value");
}

TEST_CASE("random histories: after each barrier only what came since opens") {
  std::mt19937 random(11);
  const TestVault test;
  std::map<std::string, std::string> model;
  std::vector<Bytes> stale, fresh{test.database()};
  for (int round = 0; round < 40; ++round) {
    const std::string name(1, static_cast<char>('a' + random() % 4));
    const std::string value = "value " + std::to_string(round);
    const bool known = model.contains(name);
    auto vault = test.open();
    bool barrier = true;
    if (!known) {
      vault.add(credential(name, value));
      model[name] = value;
      barrier = false;
    } else if (random() % 2 == 0) {
      vault.replace(credential(name, value));
      model[name] = value;
    } else {
      vault.remove(name);
      model.erase(name);
    }
    if (barrier) {
      stale.insert(stale.end(), fresh.begin(), fresh.end());
      fresh.clear();
    }
    { const auto close_database = std::move(vault); }
    fresh.push_back(test.database());
    if (!stale.empty()) {
      test.put_database(stale[random() % stale.size()]);
      REQUIRE(kind_of([&] { test.open(Access::read); }) == ErrorKind::integrity);
      test.put_database(fresh.back());
    }
    for (const auto& [key, wanted] : model) REQUIRE(test.secret_of(key) == wanted);
  }
  CHECK(stale.size() > 5);
}

namespace {

/// Every row of a database file, by table and key.
using Rows = std::map<std::string, std::vector<std::string>>;

std::string quoted(const SQLite::Column& column) {
  if (column.isInteger()) return std::to_string(column.getInt64());
  const auto* bytes = static_cast<const std::uint8_t*>(column.getBlob());
  std::string hex_digits;
  for (int i = 0; i < column.getBytes(); ++i) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", bytes[i]);
    hex_digits += two;
  }
  return column.isText() ? "CAST(x'" + hex_digits + "' AS TEXT)" : "x'" + hex_digits + "'";
}

Rows rows_of(const fs::path& file) {
  SQLite::Database database(file.string(), SQLite::OPEN_READWRITE);
  Rows all;
  for (const char* table : {"vault", "stage", "credential", "revocation"}) {
    SQLite::Statement query(database, std::string("SELECT * FROM ") + table);
    while (query.executeStep()) {
      std::string row;
      for (int i = 0; i < query.getColumnCount(); ++i) row += (i == 0 ? "" : ", ") + quoted(query.getColumn(i));
      all[table].push_back(row);
    }
  }
  return all;
}

}  // namespace

TEST_CASE("rows of random histories, mixed: what opens is exactly the newest state") {
  std::mt19937 random(23);
  const TestVault test;
  std::vector<Rows> history;
  std::map<std::string, std::string> model;
  for (int step = 0; step < 12; ++step) {
    const std::string name(1, static_cast<char>('a' + step % 3));
    {
      auto vault = test.open();
      if (!model.contains(name)) {
        vault.add(credential(name, "value " + std::to_string(step)));
      } else if (step % 4 == 1) {
        vault.rotate();
      } else {
        vault.replace(credential(name, "value " + std::to_string(step)));
      }
      if (step % 4 != 1 || !model.contains(name)) model[name] = "value " + std::to_string(step);
    }
    { test.open().rotate(); }  // whatever came before is dead now
    history.push_back(rows_of(test.paths.database()));
  }
  const Bytes good = test.database();
  const Rows newest = history.back();
  int refused = 0;
  for (int round = 0; round < 120; ++round) {
    test.put_database(good);
    const Rows& other = history[random() % (history.size() - 1)];
    std::string change = "PRAGMA foreign_keys = OFF; BEGIN;";
    // One table at random, or several: rows of another time in the place of, or beside, the present ones.
    for (const char* table : {"stage", "credential", "vault"}) {
      if (random() % 2 == 0) continue;
      const auto& rows = other.contains(table) ? other.at(table) : newest.at(table);
      const bool whole = random() % 2 == 0;
      if (whole) change += std::string("DELETE FROM ") + table + ";";
      for (const auto& row : rows) {
        if (whole || random() % 2 == 0)
          change += std::string("INSERT OR REPLACE INTO ") + table + " VALUES (" + row + ");";
      }
      if (random() % 3 == 0 && std::string(table) == "credential")
        change += "UPDATE credential SET epoch = (SELECT max(epoch) FROM stage);";
      if (random() % 3 == 0 && std::string(table) == "stage")
        change += "UPDATE OR IGNORE stage SET state = 'pending' WHERE epoch = (SELECT min(epoch) FROM stage);";
    }
    INFO(change.substr(0, 200));
    try {
      test.sql(change + "COMMIT");
    } catch (const SQLite::Exception&) {
      continue;  // not even SQLite takes that
    }
    try {
      const auto vault = test.open(Access::read);
      std::map<std::string, std::string> found;
      for (const auto& row : vault.snapshot().credentials)
        found[row.name] = std::string(as_text(vault.secret_of(row).reveal()));
      REQUIRE(found == model);
    } catch (const Error& error) {
      ++refused;
      REQUIRE((error.kind() == ErrorKind::integrity || error.kind() == ErrorKind::tpm));
    }
  }
  CHECK(refused > 40);
  test.put_database(good);
  for (const auto& [name, value] : model) CHECK(test.secret_of(name) == value);
}

TEST_CASE("rotation keeps every secret and every binding") {
  const TestVault test;
  for (int i = 0; i < 20; ++i) test.open().add(credential("c" + std::to_string(i), "value " + std::to_string(i)));
  const auto before = test.open(Access::read).snapshot();
  test.open().rotate();
  const auto after = test.open(Access::read).snapshot();
  CHECK(after.stage.generation == before.stage.generation + 1);
  REQUIRE(after.credentials.size() == before.credentials.size());
  for (std::size_t i = 0; i < after.credentials.size(); ++i) {
    CHECK(after.credentials[i].binding == before.credentials[i].binding);
    CHECK(after.credentials[i].version == before.credentials[i].version);
    CHECK(after.credentials[i].secret != before.credentials[i].secret);
    CHECK(test.secret_of("c" + std::to_string(i)) == "value " + std::to_string(i));
  }
}

TEST_CASE("a vault with a PIN opens with it only, and asks once") {
  const Scratch scratch;
  const VaultPaths paths{scratch / "vault"};
  create_vault({.paths = paths, .tpm = kEmbedded, .pin = secret("1234"), .owner_password = {}});
  int asked = 0;
  const PinSource right = [&] {
    ++asked;
    return secret("1234");
  };
  { Vault::open(paths, Access::write, std::nullopt, right).add(credential("a", "value")); }
  CHECK(asked == 1);
  CHECK(kind_of([&] { Vault::open(paths, Access::read, std::nullopt, [] { return secret("4321"); }); }) ==
        ErrorKind::pin);
  { Vault::open(paths, Access::write, std::nullopt, right).remove("a"); }
  CHECK(Vault::open(paths, Access::read, std::nullopt, right).snapshot().credentials.empty());
}

TEST_CASE("a newer format is refused, a foreign file is not a vault") {
  const TestVault test;
  test.sql("PRAGMA user_version = 99");
  CHECK(kind_of([&] { test.open(); }) == ErrorKind::failed);
  const TestVault other;
  other.put_database(Bytes(8192, 'x'));
  CHECK(kind_of([&] { other.open(); }) == ErrorKind::integrity);
  CHECK(kind_of([] { Vault::open({"/nonexistent/vault"}, Access::read, std::nullopt, no_pin); }) ==
        ErrorKind::not_found);
}
