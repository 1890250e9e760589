// NV indices of a TPM that only a vault's own key may write: PolicySigned over the session's nonce, so that a signature
// cannot be replayed, and one command code. Owner writes are off; everybody may read. For this room only.
#pragma once

#include <cstdint>
#include <functional>

#include "base/p256.hpp"
#include "tpm/esys.hpp"

namespace agentvault::tpm {

struct IndexKind {
  std::uint8_t type;            // TPM2_NT_COUNTER, TPM2_NT_EXTEND
  std::uint16_t size;           // bytes
  std::uint32_t write_command;  // the one command that may change it
  const char* name;             // for errors
};

using IndexWrite = std::function<TSS2_RC(ESYS_CONTEXT* esys, ESYS_TR index, ESYS_TR session)>;

/// Defines the next free index from 0x01800A56 on, writes it once, and returns its serialised reference; or leaves the
/// TPM as it was. Throws TpmError when the TPM has no room or wants an owner password.
Bytes define_index(Tpm& tpm, const IndexKind& kind, ByteView storage_root, const P256Key& key,
                   const IndexWrite& first_write);

void undefine_index(Tpm& tpm, ByteView reference);

/// In a session salted to the storage root, so that the answer is authenticated.
Bytes read_index(Tpm& tpm, const IndexKind& kind, ByteView storage_root, ByteView reference);

/// Runs `write` in a session that may, salted to the storage root: a stranger on the bus can neither change what is
/// written nor make up the answer. Backs off (4 times, 5 s in all) when the TPM limits the rate of writes.
void write_index(Tpm& tpm, const IndexKind& kind, ByteView storage_root, ByteView reference, const P256Key& key,
                 const IndexWrite& write);

}  // namespace agentvault::tpm
