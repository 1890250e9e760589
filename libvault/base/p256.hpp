// One P-256 signing key (FIPS 186-4): the key that alone may advance the epoch counter.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "base/bytes.hpp"
#include "base/crypto.hpp"
#include "base/secret_bytes.hpp"

namespace agentvault {

using Scalar = std::array<std::uint8_t, 32>;

struct EcdsaSignature {
  Scalar r;
  Scalar s;
};

class P256Key {
 public:
  static P256Key generate();
  /// Throws Error(integrity) when `der` is not such a key.
  static P256Key from_private_der(const SecretBytes& der);

  SecretBytes private_der() const;
  Scalar x() const { return coordinate("qx"); }
  Scalar y() const { return coordinate("qy"); }
  EcdsaSignature sign(const Digest& digest) const;

 private:
  struct Free {
    void operator()(void* key) const;
  };
  explicit P256Key(void* key) : key_(key) {}
  Scalar coordinate(const char* name) const;
  std::unique_ptr<void, Free> key_;  // EVP_PKEY
};

}  // namespace agentvault
