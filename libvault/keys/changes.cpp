// What a person changes in an open vault.
#include <algorithm>
#include <chrono>
#include <tuple>

#include "base/error.hpp"
#include "keys/credential_box.hpp"
#include "keys/manifest.hpp"
#include "keys/recovery.hpp"
#include "keys/stage.hpp"
#include "keys/vault.hpp"

namespace agentvault::keys {
namespace {

constexpr std::size_t kMostPolicies = std::size_t{512} << 10;  // bytes of all together

std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

auto position(std::vector<store::CredentialRow>& rows, const std::string& name) {
  return std::lower_bound(rows.begin(), rows.end(), name,
                          [](const auto& row, const auto& key) { return row.name < key; });
}

[[noreturn]] void no_such(const std::string& name) {
  throw Error(ErrorKind::not_found, "there is no credential named " + name, "\"agentvault list\" shows the names");
}

}  // namespace

void Vault::write(store::Snapshot next) {
  require_finished();
  const Digest predecessor = sha256(manifest_input(snapshot_));
  next.stage.previous.assign(predecessor.begin(), predecessor.end());
  ++next.stage.sequence;
  next.stage.mac = manifest_mac(master_, next);
  database_.write_stage(next);
  snapshot_ = std::move(next);
}

void Vault::add(const NewCredential& credential) {
  if (find(credential.name) != nullptr) {
    throw Error(ErrorKind::failed, "there is a credential named " + credential.name + " already",
                "\"agentvault add " + credential.name + " --replace\" stores a new secret for it");
  }
  store::CredentialRow row{random_bytes(16), credential.name, 1, credential.binding, {}, now(), now()};
  seal_credential(master_, snapshot_.vault.id, row, credential.secret);
  store::Snapshot next = snapshot_;
  next.credentials.insert(position(next.credentials, credential.name), std::move(row));
  write(std::move(next));
}

void Vault::replace(const NewCredential& credential) {
  const auto* old = find(credential.name);
  if (old == nullptr) no_such(credential.name);
  store::CredentialRow row{old->id, old->name, old->version + 1, credential.binding, {}, old->created, now()};
  seal_credential(master_, snapshot_.vault.id, row, credential.secret);
  store::Snapshot next = snapshot_;
  *position(next.credentials, credential.name) = std::move(row);
  barrier({std::move(next), std::nullopt});
}

void Vault::remove(const std::string& name) {
  if (find(name) == nullptr) no_such(name);
  store::Snapshot next = snapshot_;
  next.credentials.erase(position(next.credentials, name));
  barrier({std::move(next), std::nullopt});
}

void Vault::rekey(Change& change) const {
  MasterKey fresh = MasterKey::generate(tpm_->random());
  auto& [vault, stage, credentials, revoked, policies] = change.next;
  for (auto& row : credentials) seal_credential(fresh, vault.id, row, open_credential(master_, vault.id, row));
  if (!stage.counter_key.empty()) wrap_counter_key(fresh, unwrap_counter_key(master_, stage), stage);
  if (!stage.recovery_salt.empty()) wrap_recovery_key(fresh, unwrap_recovery_key(master_, stage), stage);
  ++stage.generation;
  change.master = std::move(fresh);
}

void Vault::rotate(const std::optional<tpm::PcrSelection>& pcrs) {
  Change change{snapshot_, std::nullopt};
  rekey(change);
  if (pcrs) {
    auto& stage = change.next.stage;
    stage.pcrs = pcrs->text();
    stage.pcr_digest.clear();
    if (!pcrs->empty()) {
      const Digest digest = tpm::read_pcrs(*tpm_, *pcrs);
      stage.pcr_digest.assign(digest.begin(), digest.end());
    }
  }
  barrier(std::move(change));
}

void Vault::readmit(const std::string& agent) {
  if (!is_revoked(agent)) {
    throw Error(ErrorKind::not_found, "the agent " + agent + " is not revoked",
                "\"agentvault status\" names those that are");
  }
  store::Snapshot next = snapshot_;
  std::erase(next.revoked_agents, agent);
  write(std::move(next));
}

void Vault::set_policies(std::vector<store::PolicyRow> policies, const std::vector<std::string>& readmitted) {
  std::sort(policies.begin(), policies.end(),
            [](const auto& a, const auto& b) { return std::tie(a.path, a.agent) < std::tie(b.path, b.agent); });
  std::size_t size = 0;
  for (const auto& row : policies) size += row.path.size() + row.agent.size() + row.text.size();
  if (size > kMostPolicies) {
    throw Error(ErrorKind::usage, "the vault's policies would be larger than 512 KiB together",
                "\"agentvault policy show --all\" lists them, \"agentvault policy trust --remove FILE\" takes one out");
  }
  Change change{snapshot_, std::nullopt, {}, true};
  change.next.policies = std::move(policies);
  for (const auto& agent : readmitted) std::erase(change.next.revoked_agents, agent);
  barrier(std::move(change));
}

void Vault::change_pin(const SecretBytes& pin) {
  store::Snapshot next = snapshot_;
  if (tpm::TransportName::parse_stored(snapshot_.vault.tpm).kind == tpm::TransportKind::embedded) {
    // Both PINs open the state until the barrier is through, so that a cut in between locks nobody out.
    auto* pins = tpm_->state_pins();
    if (pins == nullptr)
      throw Error(ErrorKind::usage, "the PIN of an embedded TPM is changed there", "leave --tpm out");
    pins->accept_also(pin);
    try {
      barrier({std::move(next), std::nullopt});
    } catch (const Error& error) {
      throw Error(error.kind(), error.what(),
                  "until another change of the vault both PINs open it: run \"agentvault pin change\" again");
    }
    return pins->accept_only(pin);
  }
  next.stage.pin_salt = random_bytes(16);
  auth_ = scrypt(pin, next.stage.pin_salt);
  barrier({std::move(next), std::nullopt});
}

void Vault::set_recovery_passphrase(const PinSource& old, const SecretBytes& fresh) {
  const bool first = snapshot_.stage.recovery_salt.empty();
  if (!first && !is_recovery_passphrase(master_, old(), snapshot_.stage)) {
    throw Error(ErrorKind::pin, "wrong recovery passphrase",
                "the old one is needed to set another; nothing was changed");
  }
  store::Snapshot next = snapshot_;
  keys::set_recovery_passphrase(master_, fresh, next.stage);
  if (first) return write(std::move(next));
  barrier({std::move(next), std::nullopt});
}

void Vault::backup(const std::filesystem::path& file) {
  std::error_code error;
  const auto folder = std::filesystem::weakly_canonical(std::filesystem::absolute(file), error).parent_path();
  const auto inside = std::filesystem::relative(folder, paths_.directory, error).string();
  if (!error && !inside.starts_with("..")) {
    throw Error(ErrorKind::usage, "a backup does not belong into the vault's own folder", "name a place outside of it");
  }
  write_backup(master_, snapshot_, file);
  database_.mark_backed_up(snapshot_.credentials);
}

}  // namespace agentvault::keys
