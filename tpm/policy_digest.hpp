// Policy digests computed on the host (TPM 2.0 Library, part 1, section 19.7 and part 3, section 23), SHA-256. Order
// matters: each step extends the digest.
#pragma once

#include <cstdint>

#include "base/bytes.hpp"
#include "base/crypto.hpp"
#include "tpm/pcr.hpp"

namespace agentvault::tpm {

class PolicyDigest {
 public:
  /// The NV index's 8 bytes, read as an unsigned number, are at most `value`.
  PolicyDigest& nv_at_most(ByteView index_name, std::uint64_t value);
  /// The selected registers hold what `digest` was computed over.
  PolicyDigest& pcrs(const PcrSelection& selection, ByteView digest);
  PolicyDigest& auth_value();
  PolicyDigest& signed_by(ByteView key_name);
  PolicyDigest& command_code(std::uint32_t code);

  const Digest& value() const { return digest_; }

 private:
  PolicyDigest& extend(const ByteWriter& with);
  Digest digest_{};
};

}  // namespace agentvault::tpm
