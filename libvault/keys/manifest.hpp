// The manifest: one MAC over everything that carries authority (schemas/manifest.md).
#pragma once

#include "keys/master_key.hpp"
#include "store/database.hpp"

namespace agentvault::keys {

/// The canonical bytes that the MAC covers. Depends on every row of the snapshot but stage.mac. Whether the stage is
/// pending belongs to it: only a barrier that was finished makes a stage that opens without asking the TPM's register.
Bytes manifest_input(const store::Snapshot& snapshot);

Bytes manifest_mac(const MasterKey& master, const store::Snapshot& snapshot);

/// Throws Error(integrity) when the snapshot is not exactly what was last written.
void verify_manifest(const MasterKey& master, const store::Snapshot& snapshot);

}  // namespace agentvault::keys
