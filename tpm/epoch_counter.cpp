#include "tpm/epoch_counter.hpp"

#include "tpm/vault_index.hpp"

namespace agentvault::tpm {
namespace {

constexpr IndexKind kCounter{TPM2_NT_COUNTER, 8, TPM2_CC_NV_Increment, "NV_Increment"};

void increment(Tpm& tpm, ESYS_TR index, const P256Key& key) {
  write_index(tpm, kCounter, index, key, [](ESYS_CONTEXT* esys, ESYS_TR counter, ESYS_TR session) {
    return Esys_NV_Increment(esys, counter, counter, session, ESYS_TR_NONE, ESYS_TR_NONE);
  });
}

}  // namespace

Bytes define_counter(Tpm& tpm, const P256Key& key) {
  const ESYS_TR index = define_index(tpm, kCounter, key);
  increment(tpm, index, key);
  // Only now: the Name covers "written", which the first increment sets.
  return serialize(tpm, index);
}

void undefine_counter(Tpm& tpm, ByteView counter) {
  undefine_index(tpm, counter);
}

std::uint64_t read_counter(Tpm& tpm, ByteView storage_root, ByteView counter) {
  return read_big_endian(read_index(tpm, kCounter, storage_root, counter));
}

void increment_counter(Tpm& tpm, ByteView counter, const P256Key& key) {
  increment(tpm, deserialize(tpm, counter), key);
}

}  // namespace agentvault::tpm
