// Platform configuration registers: what the machine booted. A key may be bound to some of them.
#pragma once

#include <bitset>
#include <string>

#include "base/crypto.hpp"
#include "tpm/tpm.hpp"

namespace agentvault::tpm {

/// Registers of the SHA-256 bank: "sha256:0,7". Empty: none.
class PcrSelection {
 public:
  /// Throws Error(usage).
  static PcrSelection parse(const std::string& text);
  std::string text() const;
  bool empty() const { return registers_.none(); }
  /// TPML_PCR_SELECTION, marshalled (part 2, section 10.9.7).
  Bytes marshalled() const;

 private:
  static constexpr std::size_t kRegisters = 24;
  std::bitset<kRegisters> registers_;
};

/// SHA-256 over the selected registers' values, as PolicyPCR computes it.
Digest read_pcrs(Tpm& tpm, const PcrSelection& selection);

}  // namespace agentvault::tpm
