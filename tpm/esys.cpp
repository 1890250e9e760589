#include "tpm/esys.hpp"

#include <cstring>

namespace agentvault::tpm {

Tpm::Inside::Inside(std::unique_ptr<Transport> transport, bool leftovers_are_ours)
    : filter(std::move(transport)), without_manager(leftovers_are_ours) {
  check(Esys_Initialize(&esys, filter.context(), nullptr), "Initialize");
}

Tpm::Inside::~Inside() {
  Esys_Finalize(&esys);
}

void Tpm::Inside::check(TSS2_RC rc, const char* command) {
  if (rc == TSS2_RC_SUCCESS) return;
  if (filter.transport_error()) throw TpmError(rc, command, *filter.transport_error());
  throw explain(rc, command);
}

Handle::~Handle() {
  if (handle_ != ESYS_TR_NONE) Esys_FlushContext(tpm_->inside().esys, handle_);
}

Handle start_session(Tpm& tpm, ESYS_TR storage_root, TPM2_SE type, TPMA_SESSION attributes) {
  TPMT_SYM_DEF symmetric{};
  symmetric.algorithm = TPM2_ALG_AES;
  symmetric.keyBits.aes = 128;
  symmetric.mode.aes = TPM2_ALG_CFB;
  ESYS_TR session = ESYS_TR_NONE;
  auto* esys = tpm.inside().esys;
  tpm.inside().check(Esys_StartAuthSession(esys, storage_root, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                           nullptr, type, &symmetric, TPM2_ALG_SHA256, &session),
                     "StartAuthSession");
  Handle handle(tpm, session);
  tpm.inside().check(Esys_TRSess_SetAttributes(esys, session, attributes, 0xff), "SetAttributes");
  return handle;
}

ESYS_TR deserialize(Tpm& tpm, ByteView blob) {
  ESYS_TR handle = ESYS_TR_NONE;
  const TSS2_RC rc = Esys_TR_Deserialize(tpm.inside().esys, blob.data(), blob.size(), &handle);
  if (rc != TSS2_RC_SUCCESS) {
    throw Error(ErrorKind::integrity, "the vault's reference to its TPM is damaged",
                "restore the vault from a copy you trust");
  }
  return handle;
}

Bytes serialize(Tpm& tpm, ESYS_TR handle) {
  std::uint8_t* blob = nullptr;
  std::size_t size = 0;
  tpm.inside().check(Esys_TR_Serialize(tpm.inside().esys, handle, &blob, &size), "Serialize");
  const EsysResult<std::uint8_t> owned(blob);
  return {blob, blob + size};
}

std::vector<TPM2_HANDLE> list_handles(Tpm& tpm, TPM2_HANDLE first) {
  TPMI_YES_NO more = 0;
  TPMS_CAPABILITY_DATA* data = nullptr;
  tpm.inside().check(Esys_GetCapability(tpm.inside().esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_HANDLES,
                                        first, TPM2_MAX_CAP_HANDLES, &more, &data),
                     "GetCapability");
  const EsysResult<TPMS_CAPABILITY_DATA> owned(data);
  const auto& list = data->data.handles;
  return {list.handle, list.handle + std::min<std::size_t>(list.count, TPM2_MAX_CAP_HANDLES)};
}

void flush_range(Tpm& tpm, TPM2_HANDLE first) {
  for (const TPM2_HANDLE handle : list_handles(tpm, first)) {
    // Straight through the transport: ESYS flushes only what it knows.
    ByteWriter command;
    command.u16(TPM2_ST_NO_SESSIONS).u32(14).u32(TPM2_CC_FlushContext).u32(handle);
    tpm.inside().filter.transport().exchange(command.bytes());
  }
}

void flush_leftovers(Tpm& tpm) {
  for (const TPM2_HANDLE range : {TPM2_TRANSIENT_FIRST, TPM2_LOADED_SESSION_FIRST, TPM2_ACTIVE_SESSION_FIRST}) {
    flush_range(tpm, range);
  }
}

}  // namespace agentvault::tpm
