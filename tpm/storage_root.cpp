#include "tpm/storage_root.hpp"

#include <algorithm>

#include "tpm/owner.hpp"
#include "tpm/primary.hpp"

namespace agentvault::tpm {
namespace {

constexpr TPM2_HANDLE kPersistent = 0x81000001;

ESYS_TR existing(Tpm& tpm) {
  const auto handles = list_handles(tpm, kPersistent);
  if (std::find(handles.begin(), handles.end(), kPersistent) == handles.end()) return ESYS_TR_NONE;
  auto* esys = tpm.inside().esys;
  ESYS_TR found = ESYS_TR_NONE;
  tpm.inside().check(Esys_TR_FromTPMPublic(esys, kPersistent, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &found),
                     "ReadPublic");
  TPM2B_PUBLIC* area = nullptr;
  tpm.inside().check(Esys_ReadPublic(esys, found, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &area, nullptr, nullptr),
                     "ReadPublic");
  const EsysResult<TPM2B_PUBLIC> owned(area);
  const auto type = area->publicArea.type;
  if (area->publicArea.objectAttributes != kStorageKeyAttributes || (type != TPM2_ALG_ECC && type != TPM2_ALG_RSA)) {
    throw Error(ErrorKind::tpm, "the key at 0x81000001 of this TPM is no storage root key",
                "another program put it there: \"tpm2_evictcontrol -c 0x81000001\" removes it");
  }
  return found;
}

ESYS_TR create(Tpm& tpm) {
  const OwnerAuthorization owner(tpm);
  const Handle transient = create_storage_primary(tpm, ESYS_TR_RH_OWNER, owner.session());
  ESYS_TR persistent = ESYS_TR_NONE;
  tpm.inside().check(Esys_EvictControl(tpm.inside().esys, ESYS_TR_RH_OWNER, transient.get(), owner.session(),
                                       ESYS_TR_NONE, ESYS_TR_NONE, kPersistent, &persistent),
                     "EvictControl");
  return persistent;
}

}  // namespace

Bytes provision_storage_root(Tpm& tpm) {
  ESYS_TR root = existing(tpm);
  if (root == ESYS_TR_NONE) root = retry_when_full(tpm, [&] { return create(tpm); });
  return serialize(tpm, root);
}

}  // namespace agentvault::tpm
