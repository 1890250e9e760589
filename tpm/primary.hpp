// Primary keys made from the TCG template of a storage root key (ECC P-256). For this room only.
#pragma once

#include "tpm/esys.hpp"

namespace agentvault::tpm {

/// The attributes that a storage root key has.
constexpr TPMA_OBJECT kStorageKeyAttributes = TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT | TPMA_OBJECT_FIXEDTPM |
                                              TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN |
                                              TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_NODA;

/// Transient. `authorization` is a session that may act for the hierarchy, or ESYS_TR_PASSWORD.
Handle create_storage_primary(Tpm& tpm, ESYS_TR hierarchy, ESYS_TR authorization);

}  // namespace agentvault::tpm
