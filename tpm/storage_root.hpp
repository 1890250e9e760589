// The storage root key: parent of every sealed key and salt of every session (TCG TPM v2.0 Provisioning Guidance,
// section 7.5.1). Persistent at 0x81000001, where other programs keep and share theirs.
#pragma once

#include "tpm/tpm.hpp"

namespace agentvault::tpm {

/// Takes the one that is there if it is a fit one (RSA, too: dual-boot machines have it), else makes the ECC P-256 one.
/// Returns its serialised reference, which pins its Name: a swapped key cannot take part in a session.
Bytes provision_storage_root(Tpm& tpm);

}  // namespace agentvault::tpm
