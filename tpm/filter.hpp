// The one filter between ESYS and every transport: a TCTI that validates what comes back before ESYS parses it, and
// counts what goes out. tpm2-tss before 4.2 trusts lengths in responses (GHSA-7638-f8gq-c475), so a device on the bus
// could make it read out of bounds.
//
// Checked (TPM 2.0 Library, part 1, section 18 and part 3, section 4.4): size field equals the bytes received, tag is
// one of two, an error is a bare header, the parameter area fits, the session area is well formed to its last byte, and
// the first parameter of an encrypted response stays inside the parameter area.
#pragma once

#include <tss2/tss2_tcti.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "tpm/transport.hpp"

namespace agentvault::tpm {

/// Whether `response` is a well-formed answer to the command with this code.
bool well_formed_response(std::uint32_t command_code, ByteView response);

class Filter {
 public:
  explicit Filter(std::unique_ptr<Transport> transport);
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;

  TSS2_TCTI_CONTEXT* context() { return reinterpret_cast<TSS2_TCTI_CONTEXT*>(&tcti_); }
  Transport& transport() { return *transport_; }

  /// Command codes sent so far, in order.
  const std::vector<std::uint32_t>& commands() const { return commands_; }
  /// What the transport threw in the last exchange, since ESYS only sees a return code.
  const std::optional<Error>& transport_error() const { return transport_error_; }

 private:
  /// What ESYS holds: the C interface first, as TCTIs are laid out, then the way back.
  struct Tcti {
    TSS2_TCTI_CONTEXT_COMMON_V1 common;
    Filter* owner;
  };
  static Filter& self(TSS2_TCTI_CONTEXT* context) { return *reinterpret_cast<Tcti*>(context)->owner; }
  TSS2_RC transmit(ByteView command);
  TSS2_RC receive(std::size_t* size, std::uint8_t* space);

  Tcti tcti_{};
  std::unique_ptr<Transport> transport_;
  std::vector<std::uint32_t> commands_;
  Bytes response_;
  std::optional<Error> transport_error_;
};

}  // namespace agentvault::tpm
