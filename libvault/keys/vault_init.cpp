#include "keys/vault_init.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "base/error.hpp"
#include "base/installed_group.hpp"
#include "base/p256.hpp"
#include "keys/as_owner.hpp"
#include "keys/credential_box.hpp"
#include "keys/recovery.hpp"
#include "keys/stage.hpp"
#include "tpm/embedded.hpp"
#include "tpm/epoch_counter.hpp"
#include "tpm/stage_register.hpp"
#include "tpm/storage_root.hpp"

namespace agentvault::keys {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMarker = ".agentvault-init";

/// The folder in which the vault is built before it takes its place: a fresh one, beside it.
class BuildingSite {
 public:
  explicit BuildingSite(const fs::path& place) : place_(place) {
    std::error_code ignored;
    fs::create_directories(place.parent_path(), ignored);
    remove_abandoned();
    std::string name = place.string() + ".init-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw_errno("create a folder beside " + place.string());
    paths_.directory = name;
    lock_ = FileLock::acquire(paths_.directory / kMarker, std::chrono::seconds(2));
    for (const auto& folder : {paths_.tpm(), paths_.sessions(), paths_.audit()}) make_private_directory(folder);
  }
  ~BuildingSite() {
    std::error_code ignored;
    if (!done_) fs::remove_all(paths_.directory, ignored);
  }
  BuildingSite(const BuildingSite&) = delete;
  BuildingSite& operator=(const BuildingSite&) = delete;

  const VaultPaths& paths() const { return paths_; }
  void move_into_place() {
    // Replaces an empty folder, and nothing else.
    if (::rename(paths_.directory.c_str(), place_.c_str()) != 0) {
      throw_errno("create " + place_.string(), "if it is a mount point, name a folder inside it");
    }
    done_ = true;
    sync_directory(place_.parent_path());
    // Last: until it is in its place, a building site is recognised by it.
    ::unlink((place_ / kMarker).c_str());
  }

 private:
  /// What a killed init has left: folders of ours, by name, owner and marker, that nobody works in.
  void remove_abandoned() const {
    const std::string prefix = place_.filename().string() + ".init-";
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(place_.parent_path(), error)) {
      const std::string name = entry.path().filename().string();
      struct stat info {};
      if (!name.starts_with(prefix) || name.size() != prefix.size() + 6) continue;
      if (::lstat(entry.path().c_str(), &info) != 0 || !S_ISDIR(info.st_mode) || info.st_uid != ::geteuid()) continue;
      const auto marker = entry.path() / kMarker;
      if (!fs::exists(marker, error) || FileLock::held_by_someone(marker)) continue;
      fs::remove_all(entry.path(), error);
    }
  }

  VaultPaths paths_;
  fs::path place_;
  std::optional<FileLock> lock_;
  bool done_ = false;
};

std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

void add_credentials(const NewVault& wanted, const MasterKey& master, store::Snapshot& snapshot) {
  if (!wanted.credentials) return;
  wanted.credentials([&](const NewCredential& credential) {
    store::CredentialRow row{random_bytes(16), credential.name, 1, credential.binding, {}, now(), now()};
    seal_credential(master, snapshot.vault.id, row, credential.secret);
    snapshot.credentials.push_back(std::move(row));
  });
  std::sort(snapshot.credentials.begin(), snapshot.credentials.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  const auto& rows = snapshot.credentials;
  const auto twice =
      std::adjacent_find(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.name == b.name; });
  if (twice != rows.end()) {
    throw Error(ErrorKind::integrity, "the backup holds " + twice->name + " twice",
                "use another backup; nothing was made");
  }
}

/// The vault as it begins: epoch 1 without a counter, else what the counter says.
store::Snapshot first_snapshot(tpm::Tpm& tpm, const NewVault& wanted, const MasterKey& master, const P256Key& key,
                               store::VaultRow vault) {
  store::Snapshot snapshot;
  snapshot.vault = std::move(vault);
  auto& stage = snapshot.stage;
  stage.epoch = 1;
  stage.generation = 1;
  stage.sequence = 1;
  if (wanted.rollback_protection) {
    stage.epoch = tpm::read_counter(tpm, snapshot.vault.storage_root, snapshot.vault.counter);
    wrap_counter_key(master, key, stage);
  }
  stage.pcrs = wanted.pcrs.text();
  if (!wanted.pcrs.empty()) {
    const Digest digest = tpm::read_pcrs(tpm, wanted.pcrs);
    stage.pcr_digest.assign(digest.begin(), digest.end());
  }
  if (wanted.recovery_passphrase) set_recovery_passphrase(master, *wanted.recovery_passphrase, stage);
  std::optional<SecretBytes> auth;
  // The embedded TPM's whole state is encrypted under the PIN: binding the key to it as well would add nothing.
  if (wanted.pin && wanted.tpm.kind != tpm::TransportKind::embedded) {
    stage.pin_salt = random_bytes(16);
    auth = scrypt(*wanted.pin, stage.pin_salt);
  }
  add_credentials(wanted, master, snapshot);
  snapshot.revoked_agents = wanted.revoked_agents;
  snapshot.policies = wanted.policies;
  finish_stage(tpm, master, auth ? &*auth : nullptr, snapshot);
  return snapshot;
}

/// What a vault takes up in a TPM. Given back when the vault does not come to be.
struct Footprint {
  Bytes counter;
  Bytes stage_register;

  void give_back(tpm::Tpm& tpm) const {
    if (!counter.empty()) tpm::undefine_counter(tpm, counter);
    if (!stage_register.empty()) tpm::undefine_register(tpm, stage_register);
  }
};

tpm::Tpm open_tpm(const NewVault& wanted, const VaultPaths& site) {
  return tpm::Tpm(wanted.tpm, site.tpm(), [&] { return wanted.pin->clone(); });
}

void occupy(tpm::Tpm& tpm, const NewVault& wanted, ByteView storage_root, const P256Key& key, Footprint& footprint) {
  if (!wanted.rollback_protection) return;
  try {
    footprint.counter =
        as_owner(tpm, wanted.owner_password, [&] { return tpm::define_counter(tpm, storage_root, key); });
    footprint.stage_register =
        as_owner(tpm, wanted.owner_password, [&] { return tpm::define_register(tpm, storage_root, key); });
  } catch (const tpm::TpmError& error) {
    const auto why = tpm::refusal(error.rc());
    if (why == tpm::Refusal::auth) throw;
    throw Error(ErrorKind::tpm, error.what(),
                error.hint() + (error.hint().empty() ? "" : "; ") +
                    "or give --no-rollback-protection: what is revoked then lives on in old copies of the vault");
  }
}

/// TPM and database are closed when this returns, so that their folder can move.
void build(const VaultPaths& site, const NewVault& wanted, Footprint& footprint) {
  const bool embedded = wanted.tpm.kind == tpm::TransportKind::embedded;
  if (embedded && wanted.pin) tpm::create_encrypted_state(site.tpm(), *wanted.pin);
  auto tpm = open_tpm(wanted, site);
  try {
    store::VaultRow vault{random_bytes(16), now(), wanted.tpm.text(), {}, {}, {}};
    vault.storage_root = as_owner(tpm, wanted.owner_password, [&] { return tpm::provision_storage_root(tpm); });
    const P256Key key = P256Key::generate();
    occupy(tpm, wanted, vault.storage_root, key, footprint);
    vault.counter = footprint.counter;
    vault.stage_register = footprint.stage_register;
    const MasterKey master = MasterKey::generate(tpm.random());
    const auto snapshot = first_snapshot(tpm, wanted, master, key, std::move(vault));
    auto database = store::Database::create(site.database());
    database.write_vault(snapshot.vault);
    database.write_stage(snapshot);
    database.mark_backed_up(snapshot.credentials);  // what a restore brings is in its backup
  } catch (...) {
    // A counter without a vault would take room in the TPM for ever. The embedded TPM's goes with its state.
    if (!embedded) footprint.give_back(tpm);
    throw;
  }
}

}  // namespace

void refuse_existing(const fs::path& place) {
  std::error_code error;
  struct stat info {};
  if (::stat(place.c_str(), &info) != 0) return;
  if (info.st_uid != ::geteuid()) {
    throw Error(ErrorKind::failed, place.string() + " belongs to another user", "name another place with --vault");
  }
  if (fs::exists(place / "vault.db")) {
    throw Error(ErrorKind::failed, "there is a vault at " + place.string() + " already",
                "use it, move it away first, or name another place with --vault");
  }
  if (!fs::is_directory(place) || !fs::is_empty(place)) {
    throw Error(ErrorKind::failed, place.string() + " exists and is not an empty folder",
                "name another place with --vault");
  }
}

void create_vault(const NewVault& wanted) {
  if (wanted.tpm.kind == tpm::TransportKind::command) {
    throw Error(ErrorKind::usage, "a vault cannot be made on a cmd: TPM", "use device:, swtpm:, tabrmd or embedded");
  }
  const WithInstalledGroup raised;  // in a folder that all users share
  refuse_existing(wanted.paths.directory);
  BuildingSite site(wanted.paths.directory);
  Footprint footprint;
  build(site.paths(), wanted, footprint);
  try {
    site.move_into_place();
  } catch (const Error&) {
    if (wanted.tpm.kind != tpm::TransportKind::embedded) {
      auto tpm = open_tpm(wanted, site.paths());
      as_owner(tpm, wanted.owner_password, [&] { footprint.give_back(tpm); });
    }
    throw;
  }
}

}  // namespace agentvault::keys
