#include "tpm/vault_index.hpp"

#include <poll.h>
#include <tss2/tss2_mu.h>

#include <algorithm>

#include "tpm/owner.hpp"
#include "tpm/policy_digest.hpp"

namespace agentvault::tpm {
namespace {

constexpr TPM2_HANDLE kFirstIndex = 0x01800A56;
constexpr TPM2_HANDLE kLastIndex = kFirstIndex + 0xff;
constexpr TPMA_NV kAttributes = TPMA_NV_POLICYWRITE | TPMA_NV_OWNERREAD | TPMA_NV_AUTHREAD | TPMA_NV_NO_DA;

TPM2B_PUBLIC public_area(const P256Key& key) {
  TPM2B_PUBLIC wanted{};
  auto& area = wanted.publicArea;
  area.type = TPM2_ALG_ECC;
  area.nameAlg = TPM2_ALG_SHA256;
  area.objectAttributes = TPMA_OBJECT_SIGN_ENCRYPT | TPMA_OBJECT_USERWITHAUTH;
  auto& ecc = area.parameters.eccDetail;
  ecc.symmetric.algorithm = TPM2_ALG_NULL;
  ecc.scheme.scheme = TPM2_ALG_NULL;
  ecc.curveID = TPM2_ECC_NIST_P256;
  ecc.kdf.scheme = TPM2_ALG_NULL;
  const Scalar x = key.x();
  const Scalar y = key.y();
  area.unique.ecc.x.size = static_cast<UINT16>(x.size());
  area.unique.ecc.y.size = static_cast<UINT16>(y.size());
  std::copy(x.begin(), x.end(), area.unique.ecc.x.buffer);
  std::copy(y.begin(), y.end(), area.unique.ecc.y.buffer);
  return wanted;
}

/// Name = hash algorithm | hash of the public area (part 1, section 16).
Bytes name_of(const TPM2B_PUBLIC& key) {
  std::uint8_t area[1024];
  std::size_t size = 0;
  if (Tss2_MU_TPMT_PUBLIC_Marshal(&key.publicArea, area, sizeof area, &size) != TSS2_RC_SUCCESS) {
    throw Error(ErrorKind::failed, "cannot lay out the vault's signing key");
  }
  return ByteWriter().u16(TPM2_ALG_SHA256).raw(sha256({area, size})).bytes();
}

TPM2B_NV_PUBLIC index_area(TPM2_HANDLE index, const IndexKind& kind, const P256Key& key) {
  const Digest policy = PolicyDigest().signed_by(name_of(public_area(key))).command_code(kind.write_command).value();
  TPM2B_NV_PUBLIC wanted{};
  auto& area = wanted.nvPublic;
  area.nvIndex = index;
  area.nameAlg = TPM2_ALG_SHA256;
  area.attributes = kAttributes | static_cast<TPMA_NV>(kind.type << TPMA_NV_TPM2_NT_SHIFT);
  area.dataSize = kind.size;
  area.authPolicy.size = static_cast<UINT16>(policy.size());
  std::copy(policy.begin(), policy.end(), area.authPolicy.buffer);
  return wanted;
}

void satisfy_write_policy(Tpm& tpm, const IndexKind& kind, ESYS_TR session, const P256Key& key) {
  auto& inside = tpm.inside();
  const TPM2B_PUBLIC area = public_area(key);
  ESYS_TR loaded = ESYS_TR_NONE;
  inside.check(Esys_LoadExternal(inside.esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, nullptr, &area,
                                 ESYS_TR_RH_OWNER, &loaded),
               "LoadExternal");
  const Handle verifier(tpm, loaded);

  TPM2B_NONCE* nonce = nullptr;
  inside.check(Esys_TRSess_GetNonceTPM(inside.esys, session, &nonce), "GetNonceTPM");
  const EsysResult<TPM2B_NONCE> owned(nonce);
  // Signed is nonceTPM | expiration | cpHash | policyRef (part 3, section 23.3); the last two are empty. Without the
  // nonce the signature could be replayed.
  const EcdsaSignature signature = key.sign(sha256(ByteWriter().raw({nonce->buffer, nonce->size}).u32(0).bytes()));
  TPMT_SIGNATURE wire{};
  wire.sigAlg = TPM2_ALG_ECDSA;
  auto& ecdsa = wire.signature.ecdsa;
  ecdsa.hash = TPM2_ALG_SHA256;
  ecdsa.signatureR.size = static_cast<UINT16>(signature.r.size());
  ecdsa.signatureS.size = static_cast<UINT16>(signature.s.size());
  std::copy(signature.r.begin(), signature.r.end(), ecdsa.signatureR.buffer);
  std::copy(signature.s.begin(), signature.s.end(), ecdsa.signatureS.buffer);
  const TPM2B_DIGEST no_cp_hash{};
  const TPM2B_NONCE no_reference{};
  inside.check(Esys_PolicySigned(inside.esys, loaded, session, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, nonce,
                                 &no_cp_hash, &no_reference, 0, &wire, nullptr, nullptr),
               "PolicySigned");
  inside.check(
      Esys_PolicyCommandCode(inside.esys, session, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, kind.write_command),
      "PolicyCommandCode");
}

void write_once(Tpm& tpm, const IndexKind& kind, ByteView storage_root, ESYS_TR index, const P256Key& key,
                const IndexWrite& write) {
  Handle session = start_session(tpm, deserialize(tpm, storage_root), TPM2_SE_POLICY, 0);
  satisfy_write_policy(tpm, kind, session.get(), key);
  tpm.inside().check(write(tpm.inside().esys, index, session.get()), kind.name);
  session.release();
}

Bytes read_once(Tpm& tpm, const IndexKind& kind, ByteView storage_root, ByteView reference) {
  auto& inside = tpm.inside();
  const ESYS_TR root = deserialize(tpm, storage_root);
  const ESYS_TR index = deserialize(tpm, reference);
  Handle session = start_session(tpm, root, TPM2_SE_HMAC, 0);
  TPM2B_MAX_NV_BUFFER* data = nullptr;
  inside.check(Esys_NV_Read(inside.esys, index, index, session.get(), ESYS_TR_NONE, ESYS_TR_NONE, kind.size, 0, &data),
               "NV_Read");
  session.release();
  const EsysResult<TPM2B_MAX_NV_BUFFER> owned(data);
  if (data->size != kind.size) throw Error(ErrorKind::tpm, "an index of the TPM has an unexpected size");
  return {data->buffer, data->buffer + data->size};
}

ESYS_TR define(Tpm& tpm, const IndexKind& kind, const P256Key& key) {
  const auto taken = list_handles(tpm, kFirstIndex);
  const OwnerAuthorization owner(tpm);
  for (TPM2_HANDLE index = kFirstIndex; index <= kLastIndex; ++index) {
    if (std::find(taken.begin(), taken.end(), index) != taken.end()) continue;
    const TPM2B_AUTH no_auth{};
    const TPM2B_NV_PUBLIC wanted = index_area(index, kind, key);
    ESYS_TR made = ESYS_TR_NONE;
    const TSS2_RC rc = Esys_NV_DefineSpace(tpm.inside().esys, ESYS_TR_RH_OWNER, owner.session(), ESYS_TR_NONE,
                                           ESYS_TR_NONE, &no_auth, &wanted, &made);
    if (refusal(rc) == Refusal::nv_defined) continue;  // another process was faster
    tpm.inside().check(rc, "NV_DefineSpace");
    return made;
  }
  throw Error(ErrorKind::tpm, "the TPM holds the counters of 128 vaults already",
              "\"tpm2_nvundefine 0x01800A56\" removes the first one, and with it that vault");
}

void undefine(Tpm& tpm, ESYS_TR index) {
  const OwnerAuthorization owner(tpm);
  tpm.inside().check(
      Esys_NV_UndefineSpace(tpm.inside().esys, ESYS_TR_RH_OWNER, index, owner.session(), ESYS_TR_NONE, ESYS_TR_NONE),
      "NV_UndefineSpace");
}

void write_patiently(Tpm& tpm, const IndexKind& kind, ByteView storage_root, ESYS_TR index, const P256Key& key,
                     const IndexWrite& write) {
  for (int wait_ms = 500;; wait_ms *= 2) {
    try {
      return retry_when_full(tpm, [&] { write_once(tpm, kind, storage_root, index, key, write); });
    } catch (const TpmError& error) {
      if (refusal(error.rc()) != Refusal::nv_rate || wait_ms > 3000) throw;
      ::poll(nullptr, 0, wait_ms);
    }
  }
}

}  // namespace

Bytes define_index(Tpm& tpm, const IndexKind& kind, ByteView storage_root, const P256Key& key,
                   const IndexWrite& first_write) {
  const ESYS_TR index = define(tpm, kind, key);
  try {
    write_patiently(tpm, kind, storage_root, index, key, first_write);
    // Only now: the Name covers "written", which the first write sets.
    return serialize(tpm, index);
  } catch (...) {
    undefine(tpm, index);
    throw;
  }
}

void undefine_index(Tpm& tpm, ByteView reference) {
  undefine(tpm, deserialize(tpm, reference));
}

Bytes read_index(Tpm& tpm, const IndexKind& kind, ByteView storage_root, ByteView reference) {
  return retry_when_full(tpm, [&] { return read_once(tpm, kind, storage_root, reference); });
}

void write_index(Tpm& tpm, const IndexKind& kind, ByteView storage_root, ByteView reference, const P256Key& key,
                 const IndexWrite& write) {
  write_patiently(tpm, kind, storage_root, deserialize(tpm, reference), key, write);
}

}  // namespace agentvault::tpm
