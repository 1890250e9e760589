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
