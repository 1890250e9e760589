#include "tpm/owner.hpp"

#include <algorithm>

#include "tpm/primary.hpp"

namespace agentvault::tpm {
namespace {

void set_owner_auth(Tpm& tpm, ByteView password) {
  TPM2B_AUTH auth{};
  auth.size = static_cast<UINT16>(password.size());
  std::copy(password.begin(), password.end(), auth.buffer);
  const TSS2_RC rc = Esys_TR_SetAuth(tpm.inside().esys, ESYS_TR_RH_OWNER, &auth);
  wipe({reinterpret_cast<std::uint8_t*>(&auth), sizeof auth});
  tpm.inside().check(rc, "SetAuth");
}

}  // namespace

OwnerAuthorization::OwnerAuthorization(Tpm& tpm) : tpm_(tpm) {
  const auto& password = tpm.inside().owner_password;
  if (!password) return;
  // Salted to a key of the null hierarchy, which needs nobody's permission: the storage root may not exist yet.
  const Handle salt = create_storage_primary(tpm, ESYS_TR_RH_NULL, ESYS_TR_PASSWORD);
  session_.emplace(start_session(tpm, salt.get(), TPM2_SE_HMAC, TPMA_SESSION_CONTINUESESSION));
  set_owner_auth(tpm, password->reveal());
}

OwnerAuthorization::~OwnerAuthorization() {
  if (!session_) return;
  try {
    set_owner_auth(tpm_, {});
  } catch (...) {  // the context goes with the Tpm
  }
}

}  // namespace agentvault::tpm
