// What a TPM's refusals mean to a person. Response codes: TPM 2.0 Library, part 2, section 6.6.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.hpp"

namespace agentvault::tpm {

class TpmError : public Error {
 public:
  TpmError(std::uint32_t rc, const std::string& command, const Error& explained)
      : Error(explained), rc_(rc), command_(command) {}
  std::uint32_t rc() const { return rc_; }
  /// The command that failed, for example "PolicyNV".
  const std::string& command() const { return command_; }

 private:
  std::uint32_t rc_;
  std::string command_;
};

/// Response codes without the number of the handle, parameter or session they complain about.
enum class Refusal {
  none_of_these,
  policy,            // TPM_RC_POLICY: the counter has passed this epoch
  lockout,           // TPM_RC_LOCKOUT
  auth,              // TPM_RC_AUTH_FAIL, TPM_RC_BAD_AUTH
  handle,            // TPM_RC_HANDLE: the object is gone
  integrity,         // TPM_RC_INTEGRITY: made by another TPM
  out_of_memory,     // TPM_RC_OBJECT_MEMORY, SESSION_MEMORY, SESSION_HANDLES: somebody's leftovers
  nv_space,          // TPM_RC_NV_SPACE
  nv_rate,           // TPM_RC_NV_RATE
  nv_defined,        // TPM_RC_NV_DEFINED
  nv_uninitialized,  // TPM_RC_NV_UNINITIALIZED
  policy_fail,       // TPM_RC_POLICY_FAIL: sealed under other terms
  value,             // TPM_RC_VALUE: of PolicyPCR, that the registers hold something else
  pcr_changed,       // TPM_RC_PCR_CHANGED: another register was extended meanwhile; trying again helps
};
Refusal refusal(std::uint32_t rc);

/// The exception for a failed ESYS call: kind, message and hint from the table of refusals.
TpmError explain(std::uint32_t rc, const std::string& command);

}  // namespace agentvault::tpm
