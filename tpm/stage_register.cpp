#include "tpm/stage_register.hpp"

#include <algorithm>

#include "tpm/vault_index.hpp"

namespace agentvault::tpm {
namespace {

constexpr IndexKind kRegister{TPM2_NT_EXTEND, 32, TPM2_CC_NV_Extend, "NV_Extend"};

IndexWrite extension(const Digest& with) {
  return [with](ESYS_CONTEXT* esys, ESYS_TR stages, ESYS_TR session) {
    TPM2B_MAX_NV_BUFFER data{};
    data.size = static_cast<UINT16>(with.size());
    std::copy(with.begin(), with.end(), data.buffer);
    return Esys_NV_Extend(esys, stages, stages, session, ESYS_TR_NONE, ESYS_TR_NONE, &data);
  };
}

}  // namespace

Bytes define_register(Tpm& tpm, ByteView storage_root, const P256Key& key) {
  return define_index(tpm, kRegister, storage_root, key, extension({}));
}

void undefine_register(Tpm& tpm, ByteView reference) {
  undefine_index(tpm, reference);
}

Digest read_register(Tpm& tpm, ByteView storage_root, ByteView reference) {
  const Bytes value = read_index(tpm, kRegister, storage_root, reference);
  Digest out;
  std::copy(value.begin(), value.end(), out.begin());
  return out;
}

void extend_register(Tpm& tpm, ByteView storage_root, ByteView reference, const P256Key& key, const Digest& with) {
  write_index(tpm, kRegister, storage_root, reference, key, extension(with));
}

Digest extended(const Digest& value, const Digest& with) {
  return sha256(ByteWriter().raw(value).raw(with).bytes());
}

}  // namespace agentvault::tpm
