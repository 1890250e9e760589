// Dictionary-attack state: how many wrong PINs the TPM has counted, and how long a lock-out lasts (TPM 2.0 Library,
// part 1, section 19.8). Can be asked while locked out.
#pragma once

#include <cstdint>

#include "tpm/tpm.hpp"

namespace agentvault::tpm {

struct LockoutState {
  bool locked_out = false;
  std::uint32_t failures = 0;
  std::uint32_t most_failures = 0;
  std::uint32_t seconds_per_failure = 0;  // after so long one failure is forgotten
};

LockoutState lockout_state(Tpm& tpm);

}  // namespace agentvault::tpm
