#include "keys/vault_destroy.hpp"

#include "base/error.hpp"
#include "base/installed_group.hpp"
#include "keys/as_owner.hpp"
#include "tpm/epoch_counter.hpp"
#include "tpm/stage_register.hpp"

namespace agentvault::keys {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOurs[]{"vault.db",    "vault.db-wal", "vault.db-shm", "vault.db-journal", "vault.lock",
                              "revocations", "tpm",          "audit",        "sessions",         "budgets"};

}  // namespace

bool destroy_vault(Vault vault, const tpm::PinSource& owner_password) {
  const auto paths = vault.paths();
  const auto& stored = vault.snapshot().vault;
  const bool embedded = tpm::TransportName::parse_stored(stored.tpm).kind == tpm::TransportKind::embedded;
  if (!embedded && vault.protects_against_rollback()) {
    auto& tpm = vault.tpm();
    as_owner(tpm, owner_password, [&] { tpm::undefine_counter(tpm, stored.counter); });
    as_owner(tpm, owner_password, [&] { tpm::undefine_register(tpm, stored.stage_register); });
  }
  {
    const Vault closed = std::move(vault);  // its files and locks, before they go
  }
  const WithInstalledGroup raised;
  for (const char* name : kOurs) {
    std::error_code error;
    fs::remove_all(paths.directory / name, error);
    if (error) {
      throw Error(ErrorKind::failed, "cannot delete " + (paths.shown() / name).string() + ": " + error.message(),
                  "the vault opens no more; delete its folder by hand");
    }
  }
  std::error_code not_empty;
  return fs::remove(paths.shown(), not_empty);
}

}  // namespace agentvault::keys
