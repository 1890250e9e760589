#include "http/websocket.hpp"

#include <algorithm>

#include "base/crypto.hpp"
#include "base/encoding.hpp"
#include "base/text.hpp"

namespace agentvault::http {
namespace {

constexpr std::string_view kProofSuffix = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
constexpr std::uint8_t kFinal = 0x80, kReserved = 0x70, kOpcode = 0x0f, kControl = 0x08, kMasked = 0x80, kLength = 0x7f;
constexpr std::uint64_t kMostInControl = 125;

}  // namespace

std::string websocket_accept(std::string_view key) {
  return base64(sha1(as_bytes(std::string(key) + std::string(kProofSuffix))));
}

bool completes_websocket(const ResponseHead& head, std::string_view key) {
  const auto* proof = head.fields.find("sec-websocket-accept");
  return head.status == 101 && head.fields.lists("upgrade", "websocket") &&
         head.fields.lists("connection", "upgrade") && head.fields.count("sec-websocket-accept") == 1 &&
         *proof == websocket_accept(key) && !head.fields.has("sec-websocket-extensions");
}

bool WebSocketReader::feed(ByteView bytes) {
  while (!bytes.empty()) {
    if (in_payload_) {
      const auto take = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
      left_ -= take;
      if (control_) {
        control_payload_.insert(control_payload_.end(), bytes.begin(),
                                bytes.begin() + static_cast<std::ptrdiff_t>(take));
      } else {
        events_.payload(bytes.first(take));
      }
      bytes = bytes.subspan(take);
      if (left_ == 0) end_frame();
      continue;
    }
    head_.push_back(bytes[0]);
    bytes = bytes.subspan(1);
    if (head_.size() >= 2 && head_.size() == head_size() && !begin_frame()) return false;
  }
  return true;
}

std::size_t WebSocketReader::head_size() const {
  const auto length = head_[1] & kLength;
  return length == 126 ? 4 : length == 127 ? 10 : 2;
}

bool WebSocketReader::begin_frame() {
  final_ = (head_[0] & kFinal) != 0;
  const std::uint8_t opcode = head_[0] & kOpcode;
  control_ = (opcode & kControl) != 0;
  const auto length = head_[1] & kLength;
  left_ = length < 126 ? static_cast<std::uint64_t>(length) : read_big_endian(ByteView(head_).subspan(2));
  // A server masks nothing; extensions were not agreed upon; the length has its shortest form and 63 bits at most.
  if ((head_[0] & kReserved) != 0 || (head_[1] & kMasked) != 0) return false;
  if ((length == 126 && left_ < 126) || (length == 127 && (left_ < 65536 || left_ >> 63 != 0))) return false;
  if (control_) {
    if (!final_ || left_ > kMostInControl || opcode > 10) return false;
  } else {
    if (opcode > 2 || (opcode == 0) != in_message_) return false;
  }
  if (!control_) events_.frame(head_);
  in_payload_ = true;
  if (left_ == 0) end_frame();
  return true;
}

void WebSocketReader::end_frame() {
  in_payload_ = false;
  if (control_) events_.control(head_, control_payload_);
  head_.clear();
  control_payload_.clear();
  if (control_) return;
  in_message_ = !final_;
  if (final_) events_.message_ended();
}

}  // namespace agentvault::http
