// The master key M and what is derived from it (HKDF-SHA-256, one label each). M exists only in an opener or in one
// administrative command, for as long as that runs; never in a broker.
#pragma once

#include "base/crypto.hpp"
#include "base/secret_bytes.hpp"

namespace agentvault::keys {

class MasterKey {
 public:
  /// OpenSSL's generator and the TPM's, mixed: good when either is.
  static MasterKey generate(const SecretBytes& from_tpm);
  explicit MasterKey(SecretBytes key) : key_(std::move(key)) {}

  const SecretBytes& key() const { return key_; }
  SecretBytes manifest_key() const;
  SecretBytes counter_key_wrapping() const;
  SecretBytes recovery_key_wrapping() const;
  SecretBytes credential_key(ByteView credential_id) const;
  /// With it a running session checks what it is told of policies.
  SecretBytes announcement_key(ByteView session_id) const;

 private:
  SecretBytes key_;
};

}  // namespace agentvault::keys
