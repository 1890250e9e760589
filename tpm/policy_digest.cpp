#include "tpm/policy_digest.hpp"

#include <tss2/tss2_tpm2_types.h>

namespace agentvault::tpm {

PolicyDigest& PolicyDigest::extend(const ByteWriter& with) {
  ByteWriter all;
  all.raw(digest_).raw(with.bytes());
  digest_ = sha256(all.bytes());
  return *this;
}

PolicyDigest& PolicyDigest::nv_at_most(ByteView index_name, std::uint64_t value) {
  constexpr std::uint16_t offset = 0;
  const Digest arguments = sha256(ByteWriter().u64(value).u16(offset).u16(TPM2_EO_UNSIGNED_LE).bytes());
  return extend(ByteWriter().u32(TPM2_CC_PolicyNV).raw(arguments).raw(index_name));
}

PolicyDigest& PolicyDigest::pcrs(const PcrSelection& selection, ByteView digest) {
  return extend(ByteWriter().u32(TPM2_CC_PolicyPCR).raw(selection.marshalled()).raw(digest));
}

PolicyDigest& PolicyDigest::auth_value() {
  return extend(ByteWriter().u32(TPM2_CC_PolicyAuthValue));
}

PolicyDigest& PolicyDigest::signed_by(ByteView key_name) {
  extend(ByteWriter().u32(TPM2_CC_PolicySigned).raw(key_name));
  return extend(ByteWriter());  // the policy reference, which is empty
}

PolicyDigest& PolicyDigest::command_code(std::uint32_t code) {
  return extend(ByteWriter().u32(TPM2_CC_PolicyCommandCode).u32(code));
}

}  // namespace agentvault::tpm
