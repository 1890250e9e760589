// Transports that tpm2-tss brings: device, swtpm, tabrmd, cmd. Linked directly (tabrmd: one fixed soname), never found
// by a name that somebody stored.
#pragma once

#include <memory>

#include "tpm/transport.hpp"

namespace agentvault::tpm {

/// Throws Error(tpm) with the next step: no device, no permission, no server.
std::unique_ptr<Transport> open_tcti(const TransportName& name);

}  // namespace agentvault::tpm
