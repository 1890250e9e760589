#include "tpm/sealed_key.hpp"

#include <tss2/tss2_mu.h>

#include <algorithm>

#include "tpm/esys.hpp"
#include "tpm/policy_digest.hpp"

namespace agentvault::tpm {
namespace {

constexpr int kMostAttempts = 30;  // as systemd does

Bytes counter_name(Tpm& tpm, ESYS_TR counter) {
  TPM2B_NAME* name = nullptr;
  tpm.inside().check(Esys_TR_GetName(tpm.inside().esys, counter, &name), "GetName");
  const EsysResult<TPM2B_NAME> owned(name);
  return {name->name, name->name + name->size};
}

TPM2B_PUBLIC sealed_template(const Digest& policy, DictionaryAttack dictionary_attack) {
  TPM2B_PUBLIC wanted{};
  auto& area = wanted.publicArea;
  area.type = TPM2_ALG_KEYEDHASH;
  area.nameAlg = TPM2_ALG_SHA256;
  // userWithAuth stays clear: with it set, the policy would never be asked.
  area.objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT;
  if (dictionary_attack == DictionaryAttack::ignore) area.objectAttributes |= TPMA_OBJECT_NODA;
  area.parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_NULL;
  area.authPolicy.size = static_cast<UINT16>(policy.size());
  std::copy(policy.begin(), policy.end(), area.authPolicy.buffer);
  return wanted;
}

/// The TPM compares auth values without their trailing zero bytes (part 1, section 17.6.4): leave them out ourselves.
TPM2B_AUTH auth_value(const SecretBytes& auth) {
  ByteView bytes = auth.reveal();
  while (!bytes.empty() && bytes.back() == 0) bytes = bytes.first(bytes.size() - 1);
  TPM2B_AUTH value{};
  value.size = static_cast<UINT16>(bytes.size());
  std::copy(bytes.begin(), bytes.end(), value.buffer);
  return value;
}

template <class T>
void wipe_struct(T& value) {
  wipe({reinterpret_cast<std::uint8_t*>(&value), sizeof value});
}

template <class T, class Marshal>
Bytes marshal(const T& value, Marshal with) {
  Bytes out(sizeof value + 16);
  std::size_t size = 0;
  if (with(&value, out.data(), out.size(), &size) != TSS2_RC_SUCCESS) {
    throw Error(ErrorKind::failed, "cannot lay out a sealed key");
  }
  out.resize(size);
  return out;
}

template <class T, class Unmarshal>
T unmarshal(ByteView bytes, Unmarshal with) {
  T value{};
  std::size_t used = 0;
  if (with(bytes.data(), bytes.size(), &used, &value) != TSS2_RC_SUCCESS || used != bytes.size()) {
    throw Error(ErrorKind::integrity, "the vault's sealed key is damaged", "restore the vault from a copy you trust");
  }
  return value;
}

Handle load(Tpm& tpm, ESYS_TR root, const SealedKey& key) {
  const auto public_area = unmarshal<TPM2B_PUBLIC>(key.public_area, Tss2_MU_TPM2B_PUBLIC_Unmarshal);
  const auto private_area = unmarshal<TPM2B_PRIVATE>(key.private_area, Tss2_MU_TPM2B_PRIVATE_Unmarshal);
  ESYS_TR loaded = ESYS_TR_NONE;
  tpm.inside().check(Esys_Load(tpm.inside().esys, root, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE, &private_area,
                               &public_area, &loaded),
                     "Load");
  return {tpm, loaded};
}

bool is_unbound(const SealingTerms& terms, bool with_auth) {
  return terms.counter.empty() && terms.pcrs.empty() && !with_auth;
}

Digest policy_of(Tpm& tpm, const SealingTerms& terms, bool with_auth) {
  PolicyDigest policy;
  if (!terms.counter.empty()) policy.nv_at_most(counter_name(tpm, deserialize(tpm, terms.counter)), terms.epoch);
  if (!terms.pcrs.empty()) policy.pcrs(terms.pcrs, terms.pcr_digest);
  if (with_auth) policy.auth_value();
  // An empty policy could never be satisfied: what is bound to nothing else still has one.
  if (is_unbound(terms, with_auth)) policy.command_code(TPM2_CC_Unseal);
  return policy.value();
}

SealedKey seal_once(Tpm& tpm, const SealingTerms& terms, const SecretBytes& secret, const SecretBytes* auth,
                    DictionaryAttack dictionary_attack) {
  auto& inside = tpm.inside();
  const ESYS_TR root = deserialize(tpm, terms.storage_root);
  const Digest policy = policy_of(tpm, terms, auth != nullptr);

  TPM2B_SENSITIVE_CREATE sensitive{};
  const auto bytes = secret.reveal();
  if (bytes.size() > sizeof sensitive.sensitive.data.buffer) throw Error(ErrorKind::failed, "key too long to seal");
  sensitive.sensitive.data.size = static_cast<UINT16>(bytes.size());
  std::copy(bytes.begin(), bytes.end(), sensitive.sensitive.data.buffer);
  if (auth != nullptr) sensitive.sensitive.userAuth = auth_value(*auth);

  const TPM2B_PUBLIC wanted = sealed_template(policy, dictionary_attack);
  const TPM2B_DATA outside{};
  const TPML_PCR_SELECTION no_pcrs{};
  TPM2B_PRIVATE* private_area = nullptr;
  TPM2B_PUBLIC* public_area = nullptr;
  // DECRYPT: the TPM decrypts the first parameter, which holds the secret.
  Handle session = start_session(tpm, root, TPM2_SE_HMAC, TPMA_SESSION_DECRYPT);
  const TSS2_RC rc = Esys_Create(inside.esys, root, session.get(), ESYS_TR_NONE, ESYS_TR_NONE, &sensitive, &wanted,
                                 &outside, &no_pcrs, &private_area, &public_area, nullptr, nullptr, nullptr);
  wipe_struct(sensitive);
  inside.check(rc, "Create");
  session.release();
  const EsysResult<TPM2B_PRIVATE> owned_private(private_area);
  const EsysResult<TPM2B_PUBLIC> owned_public(public_area);
  return {marshal(*public_area, Tss2_MU_TPM2B_PUBLIC_Marshal), marshal(*private_area, Tss2_MU_TPM2B_PRIVATE_Marshal)};
}

void satisfy_counter(Tpm& tpm, const SealingTerms& terms, ESYS_TR session) {
  const ESYS_TR counter = deserialize(tpm, terms.counter);
  TPM2B_OPERAND operand{};
  const Bytes limit = ByteWriter().u64(terms.epoch).bytes();  // big-endian, as the counter is
  operand.size = static_cast<UINT16>(limit.size());
  std::copy(limit.begin(), limit.end(), operand.buffer);
  tpm.inside().check(Esys_PolicyNV(tpm.inside().esys, counter, counter, session, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                   ESYS_TR_NONE, &operand, 0, TPM2_EO_UNSIGNED_LE),
                     "PolicyNV");
}

void satisfy_pcrs(Tpm& tpm, const SealingTerms& terms, ESYS_TR session) {
  TPML_PCR_SELECTION selection{};
  std::size_t used = 0;
  const Bytes wire = terms.pcrs.marshalled();
  TPM2B_DIGEST digest{};
  digest.size = static_cast<UINT16>(std::min(terms.pcr_digest.size(), sizeof digest.buffer));
  std::copy_n(terms.pcr_digest.begin(), digest.size, digest.buffer);
  if (Tss2_MU_TPML_PCR_SELECTION_Unmarshal(wire.data(), wire.size(), &used, &selection) != TSS2_RC_SUCCESS) {
    throw Error(ErrorKind::failed, "cannot lay out a PCR selection");
  }
  // With the expected digest a mismatch is told here, and not as some failed policy at the end.
  tpm.inside().check(
      Esys_PolicyPCR(tpm.inside().esys, session, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &digest, &selection),
      "PolicyPCR");
}

void satisfy(Tpm& tpm, const SealingTerms& terms, bool with_auth, ESYS_TR session) {
  auto& inside = tpm.inside();
  if (!terms.counter.empty()) satisfy_counter(tpm, terms, session);
  if (!terms.pcrs.empty()) satisfy_pcrs(tpm, terms, session);
  if (with_auth) {
    inside.check(Esys_PolicyAuthValue(inside.esys, session, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE),
                 "PolicyAuthValue");
  }
  if (is_unbound(terms, with_auth)) {
    inside.check(Esys_PolicyCommandCode(inside.esys, session, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CC_Unseal),
                 "PolicyCommandCode");
  }
}

SecretBytes unseal_once(Tpm& tpm, const SealingTerms& terms, const SealedKey& key, const SecretBytes* auth) {
  auto& inside = tpm.inside();
  const ESYS_TR root = deserialize(tpm, terms.storage_root);
  // Session first, object second: a resource manager swaps every loaded object at every command.
  Handle session = start_session(tpm, root, TPM2_SE_POLICY, TPMA_SESSION_ENCRYPT);
  satisfy(tpm, terms, auth != nullptr, session.get());
  const Handle object = load(tpm, root, key);
  if (auth != nullptr) {
    TPM2B_AUTH value = auth_value(*auth);
    inside.check(Esys_TR_SetAuth(inside.esys, object.get(), &value), "SetAuth");
    wipe_struct(value);
  }
  TPM2B_SENSITIVE_DATA* data = nullptr;
  inside.check(Esys_Unseal(inside.esys, object.get(), session.get(), ESYS_TR_NONE, ESYS_TR_NONE, &data), "Unseal");
  session.release();
  const EsysResult<TPM2B_SENSITIVE_DATA> owned(data);
  SecretBytes secret = SecretBytes::copy_of({data->buffer, data->size});
  wipe({data->buffer, data->size});
  return secret;
}

}  // namespace

SealedKey seal(Tpm& tpm, const SealingTerms& terms, const SecretBytes& secret, const SecretBytes* auth,
               DictionaryAttack dictionary_attack) {
  return retry_when_full(tpm, [&] { return seal_once(tpm, terms, secret, auth, dictionary_attack); });
}

SecretBytes unseal(Tpm& tpm, const SealingTerms& terms, const SealedKey& key, const SecretBytes* auth) {
  for (int attempt = 1;; ++attempt) {
    try {
      return retry_when_full(tpm, [&] { return unseal_once(tpm, terms, key, auth); });
    } catch (const TpmError& error) {
      // Some register that is none of ours was extended between the policy and the unsealing.
      if (refusal(error.rc()) != Refusal::pcr_changed || attempt == kMostAttempts) throw;
    }
  }
}

}  // namespace agentvault::tpm
