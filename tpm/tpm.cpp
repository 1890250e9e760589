#include "tpm/tpm.hpp"

#include <algorithm>

#include "tpm/esys.hpp"

namespace agentvault::tpm {

Tpm::Tpm(const TransportName& name, const std::filesystem::path& state_directory, const PinSource& pin)
    : Tpm(open_transport(name, state_directory, pin), name.shared_without_manager()) {}

Tpm::Tpm(std::unique_ptr<Transport> transport, bool without_manager)
    : inside_(std::make_unique<Inside>(std::move(transport), without_manager)) {}

Tpm::~Tpm() = default;

void Tpm::use_owner_password(SecretBytes password) {
  if (password.size() > sizeof TPM2B_AUTH::buffer) {
    throw Error(ErrorKind::usage, "the owner password is too long", "a TPM takes at most 64 bytes");
  }
  inside_->owner_password = std::move(password);
}

bool Tpm::has_owner_password() const {
  return inside_->owner_password.has_value();
}

void Tpm::flush_sessions() {
  flush_range(*this, TPM2_LOADED_SESSION_FIRST);
  flush_range(*this, TPM2_ACTIVE_SESSION_FIRST);
}

StatePins* Tpm::state_pins() {
  return inside_->filter.transport().state_pins();
}

const std::vector<std::uint32_t>& Tpm::commands() const {
  return inside_->filter.commands();
}

SecretBytes Tpm::random() {
  SecretBytes out(32);
  std::size_t used = 0;
  for (int attempt = 0; used < out.size() && attempt < 32; ++attempt) {
    TPM2B_DIGEST* got = nullptr;
    inside_->check(Esys_GetRandom(inside_->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                  static_cast<UINT16>(out.size() - used), &got),
                   "GetRandom");
    const EsysResult<TPM2B_DIGEST> owned(got);
    const std::size_t size = std::min<std::size_t>(got->size, out.size() - used);
    std::copy_n(got->buffer, size, out.writable().begin() + static_cast<std::ptrdiff_t>(used));
    wipe({got->buffer, size});
    used += size;
  }
  if (used < out.size()) throw Error(ErrorKind::tpm, "the TPM gives no random bytes");
  return out;
}

}  // namespace agentvault::tpm
