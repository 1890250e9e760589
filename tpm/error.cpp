#include "tpm/error.hpp"

#include <tss2/tss2_rc.h>
#include <tss2/tss2_tpm2_types.h>

#include <cstdio>

namespace agentvault::tpm {
namespace {

std::uint32_t strip_resource_manager(std::uint32_t rc) {
  const std::uint32_t layer = rc & TSS2_RC_LAYER_MASK;
  return layer == TSS2_RESMGR_TPM_RC_LAYER ? rc & ~TSS2_RC_LAYER_MASK : rc;
}

constexpr const char* kRestore = "if you have a backup: \"agentvault restore FILE\" makes a new vault from it";

/// Commands that the owner's password authorizes.
bool is_the_owners(const std::string& command) {
  return command == "CreatePrimary" || command == "EvictControl" || command == "NV_DefineSpace" ||
         command == "NV_UndefineSpace";
}

Error meaning(std::uint32_t rc, const std::string& command) {
  switch (refusal(rc)) {
    case Refusal::policy:
      return Error(ErrorKind::integrity, "this vault is older than the TPM's epoch: an old copy was put in its place",
                   "put the newest copy back; what was revoked since cannot be revived");
    case Refusal::lockout:
      return Error(ErrorKind::pin, "the TPM is locked out after too many wrong PINs, the right one included",
                   "wait: a TPM usually forgets one failure in 10 minutes to 2 hours (\"tpm2_getcap "
                   "properties-variable\" shows its lockoutInterval in seconds)");
    case Refusal::auth:
      if (command == "Unseal") {
        return Error(ErrorKind::pin, "wrong PIN", "try again; the TPM counts wrong PINs and locks out after some");
      }
      if (!is_the_owners(command)) {
        return Error(ErrorKind::tpm,
                     "something changes what this machine and its TPM say to each other (" + command + ")",
                     "do not trust what sits between them");
      }
      return Error(ErrorKind::tpm, "the TPM's owner has a password, and this is not it (" + command + ")",
                   "give the owner password: --owner-password-file FILE (mode 0600), or type it when asked");
    case Refusal::handle:
      if (command == "PolicyNV" || command == "NV_Read" || command == "NV_Increment" || command == "NV_Extend") {
        return Error(ErrorKind::tpm, "this vault's counter was deleted from the TPM", kRestore);
      }
      return Error(ErrorKind::tpm, "the storage root key of this vault is gone: the TPM was cleared", kRestore);
    case Refusal::nv_uninitialized:
      return Error(ErrorKind::tpm, "this vault's counter was deleted from the TPM, and another one put in its place",
                   kRestore);
    case Refusal::policy_fail:
      return Error(ErrorKind::integrity, "the vault's key is sealed under other terms than its database says",
                   "somebody changed the database: put a copy of vault.db back that you trust");
    case Refusal::value:
      if (command != "PolicyPCR") break;
      return Error(ErrorKind::tpm,
                   "the firmware or boot state changed: this vault is bound to the PCRs of another boot",
                   std::string("boot as before; or ") + kRestore);
    case Refusal::integrity:
      return Error(ErrorKind::tpm, "this vault is sealed to another TPM", kRestore);
    case Refusal::out_of_memory:
      return Error(ErrorKind::tpm, "the TPM has no room for another object or session",
                   "other programs hold it all: stop them, or reboot");
    case Refusal::nv_space:
      return Error(ErrorKind::tpm, "the TPM has no room for the vault's counter",
                   "\"tpm2_getcap handles-nv-index\" lists what takes it; \"tpm2_nvundefine\" frees one");
    case Refusal::nv_rate:
      return Error(ErrorKind::tpm, "the TPM limits how often its memory is written", "wait a minute, then try again");
    case Refusal::nv_defined:
    case Refusal::pcr_changed:
    case Refusal::none_of_these:
      break;
  }
  char code[16];
  std::snprintf(code, sizeof code, "0x%x", rc);
  return Error(ErrorKind::tpm, "the TPM refused " + command + ": " + Tss2_RC_Decode(rc) + " (" + code + ")",
               "run again with --log-level debug");
}

}  // namespace

Refusal refusal(std::uint32_t rc) {
  rc = strip_resource_manager(rc);
  if ((rc & TSS2_RC_LAYER_MASK) != 0) return Refusal::none_of_these;  // not the TPM's own word
  switch (rc) {
    case TPM2_RC_POLICY:
      return Refusal::policy;
    case TPM2_RC_LOCKOUT:
      return Refusal::lockout;
    case TPM2_RC_OBJECT_MEMORY:
    case TPM2_RC_SESSION_MEMORY:
    case TPM2_RC_SESSION_HANDLES:
      return Refusal::out_of_memory;
    case TPM2_RC_NV_SPACE:
      return Refusal::nv_space;
    case TPM2_RC_NV_RATE:
      return Refusal::nv_rate;
    case TPM2_RC_NV_DEFINED:
      return Refusal::nv_defined;
    case TPM2_RC_NV_UNINITIALIZED:
      return Refusal::nv_uninitialized;
    case TPM2_RC_PCR_CHANGED:
      return Refusal::pcr_changed;
    default:
      break;
  }
  constexpr std::uint32_t format_one = 0x080;
  if ((rc & format_one) == 0) return Refusal::none_of_these;
  switch (rc & 0x0bf) {  // the other bits say which handle, parameter or session
    case TPM2_RC_AUTH_FAIL:
    case TPM2_RC_BAD_AUTH:
      return Refusal::auth;
    case TPM2_RC_HANDLE:
      return Refusal::handle;
    case TPM2_RC_INTEGRITY:
      return Refusal::integrity;
    case TPM2_RC_POLICY_FAIL:
      return Refusal::policy_fail;
    case TPM2_RC_VALUE:
      return Refusal::value;
    default:
      return Refusal::none_of_these;
  }
}

TpmError explain(std::uint32_t rc, const std::string& command) {
  return {rc, command, meaning(rc, command)};
}

}  // namespace agentvault::tpm
