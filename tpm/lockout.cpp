#include "tpm/lockout.hpp"

#include <algorithm>

#include "tpm/esys.hpp"

namespace agentvault::tpm {

LockoutState lockout_state(Tpm& tpm) {
  TPMI_YES_NO more = 0;
  TPMS_CAPABILITY_DATA* data = nullptr;
  constexpr std::uint32_t count = TPM2_PT_LOCKOUT_RECOVERY - TPM2_PT_PERMANENT + 1;
  tpm.inside().check(Esys_GetCapability(tpm.inside().esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                        TPM2_CAP_TPM_PROPERTIES, TPM2_PT_PERMANENT, count, &more, &data),
                     "GetCapability");
  const EsysResult<TPMS_CAPABILITY_DATA> owned(data);
  const auto& list = data->data.tpmProperties;
  LockoutState state;
  for (std::size_t i = 0; i < std::min<std::size_t>(list.count, TPM2_MAX_TPM_PROPERTIES); ++i) {
    const auto& [property, value] = list.tpmProperty[i];
    if (property == TPM2_PT_PERMANENT) state.locked_out = (value & TPMA_PERMANENT_INLOCKOUT) != 0;
    if (property == TPM2_PT_LOCKOUT_COUNTER) state.failures = value;
    if (property == TPM2_PT_MAX_AUTH_FAIL) state.most_failures = value;
    if (property == TPM2_PT_LOCKOUT_INTERVAL) state.seconds_per_failure = value;
  }
  return state;
}

}  // namespace agentvault::tpm
