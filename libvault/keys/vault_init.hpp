// Making a vault: built beside its place and moved there last, so that there is a whole one or none.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "keys/vault.hpp"
#include "tpm/pcr.hpp"

namespace agentvault::keys {

/// Hands over credentials one after the other: their secrets need not be in memory all at once.
using CredentialSink = std::function<void(const NewCredential&)>;
using CredentialSource = std::function<void(const CredentialSink&)>;

struct NewVault {
  VaultPaths paths;
  tpm::TransportName tpm;
  /// With one, the PIN must be given to open the vault.
  std::optional<SecretBytes> pin = std::nullopt;
  /// The boot state that the vault is bound to.
  tpm::PcrSelection pcrs = {};
  /// False: no counter. Older copies of the vault will open for ever, and every status says so.
  bool rollback_protection = true;
  /// Asked at most once, and only where the TPM's owner has a password.
  PinSource owner_password = {};
  /// Under what a backup can be opened elsewhere.
  std::optional<SecretBytes> recovery_passphrase = std::nullopt;
  /// What the vault holds from the start (a restore).
  CredentialSource credentials = {};
  std::vector<std::string> revoked_agents = {};
  std::vector<store::PolicyRow> policies = {};
};

/// Throws Error(failed) when there is something at this place that no vault can be made over.
void refuse_existing(const std::filesystem::path& place);

/// Makes a vault, or nothing.
void create_vault(const NewVault& wanted);

}  // namespace agentvault::keys
