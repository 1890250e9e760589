// The barrier: a change that takes authority away. Stage durably, enter the stage in the TPM's register, increment the
// counter, close the entry, promote.
//
// A durable stage is the commit point: from then on recovery only rolls forward. No epoch is ever used twice: two
// stages of one epoch would both unseal after the increment. Whoever puts an old database back between staging and
// increment could have a second stage made for the same epoch. The register, which can only be extended, tells them
// apart: a stage is promoted only if it was entered before the counter moved, and closed after it, with nothing in
// between.
#include <algorithm>

#include "base/error.hpp"
#include "base/log.hpp"
#include "keys/manifest.hpp"
#include "keys/stage.hpp"
#include "keys/vault.hpp"
#include "tpm/epoch_counter.hpp"
#include "tpm/stage_register.hpp"

namespace agentvault::keys {
namespace {

bool equal(const Bytes& stored, const Digest& digest) {
  return std::equal(stored.begin(), stored.end(), digest.begin(), digest.end());
}

constexpr const char* kPutBack =
    "put the newest copy of vault.db back; or, if you have a backup: \"agentvault restore FILE\"";

[[noreturn]] void overtaken() {
  throw Error(ErrorKind::integrity, "the vault holds an unfinished change that another one has overtaken", kPutBack);
}

std::uint64_t counter_of(tpm::Tpm& tpm, const store::VaultRow& vault) {
  return tpm::read_counter(tpm, vault.storage_root, vault.counter);
}

}  // namespace

void Vault::barrier(Change change) {
  auto& [next, new_master, answered, news] = change;
  auto& stage = next.stage;
  const auto& vault = snapshot_.vault;
  require_finished();
  stage.epoch = snapshot_.stage.epoch + 1;
  if (protects_against_rollback()) {
    const Digest before = tpm::read_register(*tpm_, vault.storage_root, vault.stage_register);
    stage.entered_after.assign(before.begin(), before.end());
    // After the register: what has moved since this vault was unsealed was moved by another copy of it, and this one is
    // old.
    if (counter_of(*tpm_, vault) != snapshot_.stage.epoch) overtaken();
  }
  stage.pending = true;
  ++stage.sequence;
  const Digest predecessor = sha256(manifest_input(snapshot_));
  stage.previous.assign(predecessor.begin(), predecessor.end());
  finish_stage(*tpm_, new_master ? *new_master : master_, auth_ ? &*auth_ : nullptr, next);

  database_.write_stage(next, answered, news);
  snapshot_ = std::move(next);
  if (new_master) master_ = std::move(*new_master);
  std::optional<Error> unfinished;
  try {
    unfinished = enter_and_advance();
  } catch (const tpm::TpmError& error) {
    unfinished = error;
  }
  if (unfinished) {
    throw Error(ErrorKind::tpm,
                std::string("the change is stored, but older copies of the vault still open: ") + unfinished->what(),
                "the next command that opens the vault finishes it");
  }
  try {
    promote();
  } catch (const Error& error) {
    // The change holds: the counter has moved. Whoever opens the vault next promotes it.
    log::warning(std::string("the change is made, but could not be tidied up: ") + error.what());
  }
}

/// A stage that the register knows must stay as it is until it is promoted.
void Vault::require_finished() const {
  if (!snapshot_.stage.pending) return;
  throw Error(ErrorKind::failed, "an earlier change of this vault could not be tidied up", "try again");
}

/// From the durable stage to its closed entry, wherever that was cut short. What cannot be read is an error: it decides
/// whether this stage may be used at all. What cannot be written yet is returned: then the stage is good, but not done.
std::optional<Error> Vault::enter_and_advance() {
  if (!protects_against_rollback()) return std::nullopt;
  const auto& vault = snapshot_.vault;
  const auto& stage = snapshot_.stage;
  const Digest entry = sha256(manifest_input(snapshot_));
  const Digest closing = sha256(ByteWriter().text("agentvault barrier done").u64(stage.epoch).raw(entry).bytes());
  Digest before{};
  std::copy_n(stage.entered_after.begin(), std::min(stage.entered_after.size(), before.size()), before.begin());
  const Digest entered = tpm::extended(before, entry);
  const Digest closed = tpm::extended(entered, closing);

  const P256Key key = unwrap_counter_key(master_, stage);
  const std::uint64_t counter = counter_of(*tpm_, vault);
  Digest held = tpm::read_register(*tpm_, vault.storage_root, vault.stage_register);
  const bool advanced = counter == stage.epoch;
  if (counter + 1 < stage.epoch) {
    throw Error(ErrorKind::integrity, "the state of the TPM was rolled back while a change of the vault was unfinished",
                "if you have a backup: \"agentvault restore FILE\" makes a new vault from it");
  }
  if (!advanced && counter + 1 != stage.epoch) overtaken();
  if (held != entered && held != (advanced ? closed : before)) overtaken();
  try {
    if (held == before) tpm::extend_register(*tpm_, vault.storage_root, vault.stage_register, key, entry);
    if (!advanced) tpm::increment_counter(*tpm_, vault.storage_root, vault.counter, key);
    // Never closed while the counter stands: a closed entry says that it has moved.
    if (counter_of(*tpm_, vault) != stage.epoch) overtaken();
    if (held != closed) tpm::extend_register(*tpm_, vault.storage_root, vault.stage_register, key, closing);
  } catch (const tpm::TpmError& error) {
    return error;
  }
  held = tpm::read_register(*tpm_, vault.storage_root, vault.stage_register);
  if (held != closed) overtaken();
  return std::nullopt;
}

void Vault::promote() {
  store::Snapshot done = snapshot_;
  done.stage.pending = false;
  done.stage.mac = manifest_mac(master_, done);
  database_.promote(done.stage.mac);
  snapshot_ = std::move(done);
}

void Vault::finish_barrier(Access access) {
  if (!snapshot_.stage.pending) return;
  if (!equal(snapshot_.stage.previous, sha256(manifest_input(database_.current())))) {
    throw Error(ErrorKind::integrity, "the vault holds an unfinished change of another state", kPutBack);
  }
  if (const auto refused = enter_and_advance()) {
    // Nothing may be built on an unfinished change; but reading serves the newer state all the same, never the older
    // one.
    if (access == Access::write || !database_.intents().empty()) throw *refused;
    return log::warning(std::string("a change is still incomplete, older copies of the vault still open: ") +
                        refused->what());
  }
  try {
    promote();
  } catch (const Error& error) {
    if (access == Access::write) throw;
    log::warning(std::string("a change is made, but could not be tidied up: ") + error.what());
  }
}

}  // namespace agentvault::keys
