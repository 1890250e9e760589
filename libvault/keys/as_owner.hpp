// What the TPM's owner must allow.
#pragma once

#include "tpm/error.hpp"
#include "tpm/tpm.hpp"

namespace agentvault::keys {

/// Runs `work`; where there turns out to be an owner password, once more with what `password` says. `password`: null
/// when nobody can be asked.
template <class Work>
auto as_owner(tpm::Tpm& tpm, const tpm::PinSource& password, Work work) {
  try {
    return work();
  } catch (const tpm::TpmError& error) {
    if (tpm::refusal(error.rc()) != tpm::Refusal::auth || tpm.has_owner_password() || !password) throw;
  }
  tpm.use_owner_password(password());
  return work();
}

}  // namespace agentvault::keys
