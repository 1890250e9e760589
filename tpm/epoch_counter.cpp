#include "tpm/epoch_counter.hpp"

#include "tpm/vault_index.hpp"

namespace agentvault::tpm {
namespace {

constexpr IndexKind kCounter{TPM2_NT_COUNTER, 8, TPM2_CC_NV_Increment, "NV_Increment"};

TSS2_RC increment(ESYS_CONTEXT* esys, ESYS_TR counter, ESYS_TR session) {
  return Esys_NV_Increment(esys, counter, counter, session, ESYS_TR_NONE, ESYS_TR_NONE);
}

}  // namespace

Bytes define_counter(Tpm& tpm, ByteView storage_root, const P256Key& key) {
  return define_index(tpm, kCounter, storage_root, key, increment);
}

void undefine_counter(Tpm& tpm, ByteView counter) {
  undefine_index(tpm, counter);
}

std::uint64_t read_counter(Tpm& tpm, ByteView storage_root, ByteView counter) {
  return read_big_endian(read_index(tpm, kCounter, storage_root, counter));
}

void increment_counter(Tpm& tpm, ByteView storage_root, ByteView counter, const P256Key& key) {
  write_index(tpm, kCounter, storage_root, counter, key, increment);
}

}  // namespace agentvault::tpm
