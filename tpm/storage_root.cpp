#include "tpm/storage_root.hpp"

#include <algorithm>

#include "tpm/esys.hpp"

namespace agentvault::tpm {
namespace {

constexpr TPM2_HANDLE kPersistent = 0x81000001;
constexpr TPMA_OBJECT kAttributes = TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT | TPMA_OBJECT_FIXEDTPM |
                                    TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN |
                                    TPMA_OBJECT_USERWITHAUTH | TPMA_OBJECT_NODA;

TPM2B_PUBLIC ecc_template() {
  TPM2B_PUBLIC wanted{};
  auto& area = wanted.publicArea;
  area.type = TPM2_ALG_ECC;
  area.nameAlg = TPM2_ALG_SHA256;
  area.objectAttributes = kAttributes;
  auto& ecc = area.parameters.eccDetail;
  ecc.symmetric.algorithm = TPM2_ALG_AES;
  ecc.symmetric.keyBits.aes = 128;
  ecc.symmetric.mode.aes = TPM2_ALG_CFB;
  ecc.scheme.scheme = TPM2_ALG_NULL;
  ecc.curveID = TPM2_ECC_NIST_P256;
  ecc.kdf.scheme = TPM2_ALG_NULL;
  // 32 zero bytes each, as the guidance says: an empty `unique` gives a different key.
  area.unique.ecc.x.size = 32;
  area.unique.ecc.y.size = 32;
  return wanted;
}

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
  if (area->publicArea.objectAttributes != kAttributes || (type != TPM2_ALG_ECC && type != TPM2_ALG_RSA)) {
    throw Error(ErrorKind::tpm, "the key at 0x81000001 of this TPM is no storage root key",
                "another program put it there: \"tpm2_evictcontrol -c 0x81000001\" removes it");
  }
  return found;
}

ESYS_TR create(Tpm& tpm) {
  auto* esys = tpm.inside().esys;
  const TPM2B_SENSITIVE_CREATE no_auth{};
  const TPM2B_PUBLIC wanted = ecc_template();
  const TPM2B_DATA outside{};
  const TPML_PCR_SELECTION no_pcrs{};
  ESYS_TR made = ESYS_TR_NONE;
  tpm.inside().check(Esys_CreatePrimary(esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &no_auth,
                                        &wanted, &outside, &no_pcrs, &made, nullptr, nullptr, nullptr, nullptr),
                     "CreatePrimary");
  const Handle transient(tpm, made);
  ESYS_TR persistent = ESYS_TR_NONE;
  tpm.inside().check(Esys_EvictControl(esys, ESYS_TR_RH_OWNER, made, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                                       kPersistent, &persistent),
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
