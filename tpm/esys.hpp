// ESYS made safe to use, for this room only: results freed, failures thrown, sessions and objects flushed.
#pragma once

#include <tss2/tss2_esys.h>

#include <memory>
#include <optional>
#include <string>

#include "tpm/filter.hpp"
#include "tpm/tpm.hpp"

namespace agentvault::tpm {

/// Flushes every handle that is listed from `first` on.
void flush_range(Tpm& tpm, TPM2_HANDLE first);
void flush_leftovers(Tpm& tpm);

struct Tpm::Inside {
  Inside(std::unique_ptr<Transport> transport, bool without_manager);
  ~Inside();
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

  /// Throws what a failed call means: the transport's own error first, else the TPM's refusal.
  void check(TSS2_RC rc, const char* command);

  Filter filter;
  bool without_manager;
  std::optional<SecretBytes> owner_password;
  ESYS_CONTEXT* esys = nullptr;
};

/// Runs an operation; when the TPM is full of a dead process's leftovers, which nobody but us can clean up without a
/// resource manager, flushes them all and runs it once more. All of it: what it had loaded itself is flushed, too.
template <class Operation>
auto retry_when_full(Tpm& tpm, Operation operation) {
  try {
    return operation();
  } catch (const TpmError& error) {
    if (refusal(error.rc()) != Refusal::out_of_memory || !tpm.inside().without_manager) throw;
  }
  flush_leftovers(tpm);
  return operation();
}

struct EsysFree {
  void operator()(void* memory) const { Esys_Free(memory); }
};
template <class T>
using EsysResult = std::unique_ptr<T, EsysFree>;

/// A transient object or session: flushed on destruction, unless the TPM has already dropped it.
class Handle {
 public:
  Handle(Tpm& tpm, ESYS_TR handle) : tpm_(&tpm), handle_(handle) {}
  Handle(Handle&& other) noexcept : tpm_(other.tpm_), handle_(other.release()) {}
  Handle& operator=(Handle&&) = delete;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle();

  ESYS_TR get() const { return handle_; }
  ESYS_TR release() {
    const ESYS_TR handle = handle_;
    handle_ = ESYS_TR_NONE;
    return handle;
  }

 private:
  Tpm* tpm_;
  ESYS_TR handle_;
};

/// A session salted to the storage root key, AES-128-CFB. Salt is mandatory: without it the bus can be read offline.
/// Policy sessions end with their first use (continueSession clear): release() the handle after it.
Handle start_session(Tpm& tpm, ESYS_TR storage_root, TPM2_SE type, TPMA_SESSION attributes);

/// A handle from its serialised form: no command is sent. The form holds the Name, so a swapped object is noticed.
ESYS_TR deserialize(Tpm& tpm, ByteView blob);
Bytes serialize(Tpm& tpm, ESYS_TR handle);

std::vector<TPM2_HANDLE> list_handles(Tpm& tpm, TPM2_HANDLE first);

}  // namespace agentvault::tpm
