#include "keys/manifest.hpp"

#include "base/error.hpp"

namespace agentvault::keys {
namespace {

Digest row_hash(const store::CredentialRow& row) {
  return sha256(ByteWriter()
                    .blob(row.id)
                    .text(row.name)
                    .u64(row.version)
                    .text(row.binding)
                    .blob(row.secret)
                    .u64(static_cast<std::uint64_t>(row.created))
                    .u64(static_cast<std::uint64_t>(row.changed))
                    .bytes());
}

}  // namespace

Bytes manifest_input(const store::Snapshot& snapshot) {
  const auto& [vault, stage, credentials, revoked_agents, policies] = snapshot;
  ByteWriter out;
  out.text("agentvault manifest 1");
  out.blob(vault.id).text(vault.tpm).blob(vault.storage_root).blob(vault.counter).blob(vault.stage_register);
  out.u64(stage.epoch).u8(stage.pending ? 1 : 0).u64(stage.generation).u64(stage.sequence);
  out.blob(stage.sealed_public).blob(stage.sealed_private).blob(stage.pin_salt);
  out.text(stage.pcrs).blob(stage.pcr_digest).blob(stage.counter_key);
  out.blob(stage.recovery_salt).blob(stage.recovery_key);
  out.blob(stage.entered_after).blob(stage.previous);
  out.u64(credentials.size());
  for (const auto& row : credentials) out.blob(row.id).u64(row.version).raw(row_hash(row));
  out.u64(revoked_agents.size());
  for (const auto& agent : revoked_agents) out.text(agent);
  // Without policies as before there were any: older vaults still verify.
  if (policies.empty()) return out.bytes();
  out.u64(policies.size());
  for (const auto& row : policies) out.text(row.path).text(row.agent).raw(sha256(as_bytes(row.text)));
  return out.bytes();
}

Bytes manifest_mac(const MasterKey& master, const store::Snapshot& snapshot) {
  const Digest mac = hmac_sha256(master.manifest_key().reveal(), manifest_input(snapshot));
  return {mac.begin(), mac.end()};
}

void verify_manifest(const MasterKey& master, const store::Snapshot& snapshot) {
  if (constant_time_equal(manifest_mac(master, snapshot), snapshot.stage.mac)) return;
  throw Error(ErrorKind::integrity, "the vault's database was changed by something other than agentvault",
              "put a copy of vault.db back that you trust; nothing was decrypted");
}

}  // namespace agentvault::keys
