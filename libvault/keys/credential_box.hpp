// One credential's secret at rest: AES-256-GCM under a key of its own, with everything that says where it may go as
// associated data (schemas/manifest.md).
#pragma once

#include "keys/master_key.hpp"
#include "store/database.hpp"

namespace agentvault::keys {

/// Encrypts `secret` into row.secret. The rest of the row must be final.
void seal_credential(const MasterKey& master, const Bytes& vault_id, store::CredentialRow& row,
                     const SecretBytes& secret);

/// Throws Error(integrity) when the row does not decrypt.
SecretBytes open_credential(const MasterKey& master, const Bytes& vault_id, const store::CredentialRow& row);

}  // namespace agentvault::keys
