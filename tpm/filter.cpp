#include "tpm/filter.hpp"

#include <tss2/tss2_tpm2_types.h>

#include <cstring>

#include "base/secret_bytes.hpp"

namespace agentvault::tpm {
namespace {

constexpr std::size_t kHeaderSize = 10;
constexpr std::size_t kLargestNonceOrHmac = 64;  // SHA-512
constexpr std::uint8_t kResponseEncrypted = TPMA_SESSION_ENCRYPT;

std::size_t handles_in_response(std::uint32_t command_code) {
  switch (command_code) {
    case TPM2_CC_CreatePrimary:
    case TPM2_CC_Load:
    case TPM2_CC_LoadExternal:
    case TPM2_CC_StartAuthSession:
    case TPM2_CC_ContextLoad:
      return 1;
    default:
      return 0;
  }
}

/// Takes one TPM2B (2-byte size, contents) off the front.
bool skip_sized(ByteView& rest, std::size_t most) {
  if (rest.size() < 2) return false;
  const std::size_t size = read_big_endian(rest.first(2));
  if (size > most || rest.size() < 2 + size) return false;
  rest = rest.subspan(2 + size);
  return true;
}

bool well_formed_sessions(ByteView rest, ByteView parameters) {
  bool any = false;
  while (!rest.empty()) {
    if (!skip_sized(rest, kLargestNonceOrHmac) || rest.empty()) return false;
    const bool encrypted = (rest[0] & kResponseEncrypted) != 0;
    rest = rest.subspan(1);
    if (!skip_sized(rest, kLargestNonceOrHmac)) return false;
    ByteView first = parameters;
    if (encrypted && !skip_sized(first, kMaxMessage)) return false;
    any = true;
  }
  return any;
}

}  // namespace

bool well_formed_response(std::uint32_t command_code, ByteView response) {
  if (response.size() < kHeaderSize || response.size() > kMaxMessage) return false;
  if (read_big_endian(response.subspan(2, 4)) != response.size()) return false;
  const auto tag = read_big_endian(response.first(2));
  const auto code = read_big_endian(response.subspan(6, 4));
  if (code != TPM2_RC_SUCCESS) return tag == TPM2_ST_NO_SESSIONS && response.size() == kHeaderSize;
  ByteView rest = response.subspan(kHeaderSize);
  const std::size_t handles = 4 * handles_in_response(command_code);
  if (rest.size() < handles) return false;
  rest = rest.subspan(handles);
  if (tag == TPM2_ST_NO_SESSIONS) return true;
  if (tag != TPM2_ST_SESSIONS || rest.size() < 4) return false;
  const auto parameter_size = read_big_endian(rest.first(4));
  rest = rest.subspan(4);
  if (parameter_size > rest.size()) return false;
  return well_formed_sessions(rest.subspan(parameter_size), rest.first(parameter_size));
}

Filter::Filter(std::unique_ptr<Transport> transport) : transport_(std::move(transport)) {
  tcti_.common.magic = 0x6167656e74766c74;  // any value of our own
  tcti_.common.version = 1;
  tcti_.owner = this;
  tcti_.common.transmit = [](TSS2_TCTI_CONTEXT* context, std::size_t size, const std::uint8_t* command) {
    return self(context).transmit({command, size});
  };
  tcti_.common.receive = [](TSS2_TCTI_CONTEXT* context, std::size_t* size, std::uint8_t* space, std::int32_t) {
    return self(context).receive(size, space);
  };
  tcti_.common.finalize = [](TSS2_TCTI_CONTEXT*) {};
  tcti_.common.cancel = [](TSS2_TCTI_CONTEXT*) -> TSS2_RC { return TSS2_TCTI_RC_NOT_IMPLEMENTED; };
  tcti_.common.getPollHandles = [](TSS2_TCTI_CONTEXT*, TSS2_TCTI_POLL_HANDLE*, std::size_t*) -> TSS2_RC {
    return TSS2_TCTI_RC_NOT_IMPLEMENTED;
  };
  tcti_.common.setLocality = [](TSS2_TCTI_CONTEXT*, std::uint8_t) -> TSS2_RC { return TSS2_TCTI_RC_NOT_IMPLEMENTED; };
}

TSS2_RC Filter::transmit(ByteView command) {
  if (command.size() < kHeaderSize) return TSS2_TCTI_RC_BAD_VALUE;
  const auto code = static_cast<std::uint32_t>(read_big_endian(command.subspan(6, 4)));
  commands_.push_back(code);
  try {
    response_ = transport_->exchange(command);
  } catch (const Error& error) {
    transport_error_ = error;
    return TSS2_TCTI_RC_IO_ERROR;
  }
  if (!well_formed_response(code, response_)) {
    transport_error_ = Error(ErrorKind::tpm, "the TPM sent a malformed response",
                             "if it happens again, do not trust what sits between this machine and its TPM");
    return TSS2_TCTI_RC_MALFORMED_RESPONSE;
  }
  return TSS2_RC_SUCCESS;
}

TSS2_RC Filter::receive(std::size_t* size, std::uint8_t* space) {
  if (size == nullptr) return TSS2_TCTI_RC_BAD_REFERENCE;
  const std::size_t have = response_.size();
  if (space == nullptr) {
    *size = have;
    return TSS2_RC_SUCCESS;
  }
  if (*size < have) return TSS2_TCTI_RC_INSUFFICIENT_BUFFER;
  std::memcpy(space, response_.data(), have);
  *size = have;
  wipe(response_);
  return TSS2_RC_SUCCESS;
}

}  // namespace agentvault::tpm
