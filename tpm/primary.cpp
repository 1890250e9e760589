#include "tpm/primary.hpp"

namespace agentvault::tpm {
namespace {

TPM2B_PUBLIC ecc_template() {
  TPM2B_PUBLIC wanted{};
  auto& area = wanted.publicArea;
  area.type = TPM2_ALG_ECC;
  area.nameAlg = TPM2_ALG_SHA256;
  area.objectAttributes = kStorageKeyAttributes;
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

}  // namespace

Handle create_storage_primary(Tpm& tpm, ESYS_TR hierarchy, ESYS_TR authorization) {
  const TPM2B_SENSITIVE_CREATE no_auth{};
  const TPM2B_PUBLIC wanted = ecc_template();
  const TPM2B_DATA outside{};
  const TPML_PCR_SELECTION no_pcrs{};
  ESYS_TR made = ESYS_TR_NONE;
  tpm.inside().check(
      Esys_CreatePrimary(tpm.inside().esys, hierarchy, authorization, ESYS_TR_NONE, ESYS_TR_NONE, &no_auth, &wanted,
                         &outside, &no_pcrs, &made, nullptr, nullptr, nullptr, nullptr),
      "CreatePrimary");
  return {tpm, made};
}

}  // namespace agentvault::tpm
