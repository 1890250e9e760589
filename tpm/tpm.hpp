// One open TPM: transport, filter and ESYS context. Everything else in this room takes a Tpm&. Used by one thread, made
// after every fork (an ESYS context does not survive one).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/bytes.hpp"
#include "base/secret_bytes.hpp"
#include "tpm/error.hpp"
#include "tpm/transport.hpp"

namespace agentvault::tpm {

class Tpm {
 public:
  /// Opens the transport. `without_manager`: clean up leftovers of the dead when the TPM says it is full.
  Tpm(const TransportName& name, const std::filesystem::path& state_directory, const PinSource& pin);
  Tpm(std::unique_ptr<Transport> transport, bool without_manager);
  ~Tpm();
  Tpm(const Tpm&) = delete;
  Tpm& operator=(const Tpm&) = delete;

  /// For a TPM whose owner has a password. At most 64 bytes; kept for the life of this object.
  void use_owner_password(SecretBytes password);
  bool has_owner_password() const;

  /// Flushes every session of this TPM, also saved ones: what satisfied a policy before the counter moved could unseal
  /// an old key until then. Through a resource manager, only those it lets us reach.
  void flush_sessions();

  /// Null: the transport keeps no state of its own.
  StatePins* state_pins();

  /// Command codes sent so far.
  const std::vector<std::uint32_t>& commands() const;

  /// 32 bytes from the TPM's generator (at most; hardware may give fewer per call, this asks until there are 32).
  SecretBytes random();

  struct Inside;  // ESYS, for this room only (esys.hpp)
  Inside& inside() { return *inside_; }

 private:
  std::unique_ptr<Inside> inside_;
};

}  // namespace agentvault::tpm
