// The TPM's owner: who may define indices and persistent keys. Mostly the owner has no password. For this room only.
#pragma once

#include <optional>

#include "tpm/esys.hpp"

namespace agentvault::tpm {

/// Authorizes commands of the owner while it lives. A password never crosses the bus: it keys the HMAC of a session
/// that is salted, so that it cannot be guessed from the traffic either.
class OwnerAuthorization {
 public:
  explicit OwnerAuthorization(Tpm& tpm);
  ~OwnerAuthorization();
  OwnerAuthorization(const OwnerAuthorization&) = delete;
  OwnerAuthorization& operator=(const OwnerAuthorization&) = delete;

  ESYS_TR session() const { return session_ ? session_->get() : ESYS_TR_PASSWORD; }

 private:
  Tpm& tpm_;
  std::optional<Handle> session_;
};

}  // namespace agentvault::tpm
