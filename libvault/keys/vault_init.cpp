#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "base/error.hpp"
#include "keys/manifest.hpp"
#include "keys/vault.hpp"
#include "tpm/embedded.hpp"
#include "tpm/epoch_counter.hpp"
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
    ::unlink((paths_.directory / kMarker).c_str());
    // Replaces an empty folder, and nothing else.
    if (::rename(paths_.directory.c_str(), place_.c_str()) != 0) {
      throw_errno("create " + place_.string(), "if it is a mount point, name a folder inside it");
    }
    done_ = true;
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

void refuse_existing(const fs::path& place) {
  std::error_code error;
  if (!fs::exists(place, error)) return;
  if (fs::exists(place / "vault.db")) {
    throw Error(ErrorKind::failed, "there is a vault at " + place.string() + " already",
                "use it, or name another place with --vault");
  }
  if (!fs::is_directory(place) || !fs::is_empty(place)) {
    throw Error(ErrorKind::failed, place.string() + " exists and is not an empty folder",
                "name another place with --vault");
  }
}

store::Snapshot first_snapshot(tpm::Tpm& tpm, const NewVault& wanted, const P256Key& key, const MasterKey& master,
                               Bytes storage_root, Bytes counter) {
  store::Snapshot snapshot;
  auto& [vault, stage, credentials] = snapshot;
  vault.id = random_bytes(16);
  vault.created =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  vault.tpm = wanted.tpm.text();
  vault.storage_root = std::move(storage_root);
  vault.counter = std::move(counter);

  stage.epoch = tpm::read_counter(tpm, vault.storage_root, vault.counter);
  stage.generation = 1;
  stage.sequence = 1;
  std::optional<SecretBytes> auth;
  // The embedded TPM's whole state is encrypted under the PIN: binding the key to it as well would add nothing.
  if (wanted.pin && wanted.tpm.kind != tpm::TransportKind::embedded) {
    stage.pin_salt = random_bytes(16);
    auth = scrypt(*wanted.pin, stage.pin_salt);
  }
  const tpm::SealingParent parent{vault.storage_root, vault.counter};
  const auto sealed =
      tpm::seal(tpm, parent, stage.epoch, master.key(), auth ? &*auth : nullptr, dictionary_attack_for(wanted.tpm));
  stage.sealed_public = sealed.public_area;
  stage.sealed_private = sealed.private_area;
  stage.counter_key =
      aead_seal(master.counter_key_wrapping(), as_bytes("agentvault counter key"), key.private_der().reveal());
  stage.mac = manifest_mac(master, snapshot);
  return snapshot;
}

/// TPM and database are closed when this returns, so that their folder can move. Returns the counter's reference.
Bytes build(const VaultPaths& site, const NewVault& wanted) {
  const bool embedded = wanted.tpm.kind == tpm::TransportKind::embedded;
  if (embedded && wanted.pin) tpm::create_encrypted_state(site.tpm(), *wanted.pin);
  tpm::Tpm tpm(wanted.tpm, site.tpm(), [&] { return wanted.pin->clone(); });
  Bytes storage_root = tpm::provision_storage_root(tpm);
  const P256Key key = P256Key::generate();
  const Bytes counter = tpm::define_counter(tpm, key);
  try {
    const MasterKey master = MasterKey::generate(tpm.random());
    const auto snapshot = first_snapshot(tpm, wanted, key, master, std::move(storage_root), counter);
    auto database = store::Database::create(site.database());
    database.write_vault(snapshot.vault);
    database.write_stage(snapshot.stage, snapshot.credentials);
    return counter;
  } catch (...) {
    // A counter without a vault would take room in the TPM for ever. The embedded TPM's goes with its state.
    if (!embedded) tpm::undefine_counter(tpm, counter);
    throw;
  }
}

}  // namespace

void create_vault(const NewVault& wanted) {
  if (wanted.tpm.kind == tpm::TransportKind::command) {
    throw Error(ErrorKind::usage, "a vault cannot be made on a cmd: TPM", "use device:, swtpm:, tabrmd or embedded");
  }
  refuse_existing(wanted.paths.directory);
  BuildingSite site(wanted.paths.directory);
  const Bytes counter = build(site.paths(), wanted);
  try {
    site.move_into_place();
  } catch (const Error&) {
    if (wanted.tpm.kind != tpm::TransportKind::embedded) {
      tpm::Tpm tpm(wanted.tpm, site.paths().tpm(), [&] { return wanted.pin->clone(); });
      tpm::undefine_counter(tpm, counter);
    }
    throw;
  }
}

}  // namespace agentvault::keys
