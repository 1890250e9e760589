// Byte sequences that are not secret, and the one canonical way to lay several of them end to end.
//
// Canonical form: integers big-endian at fixed width; strings and blobs behind a 4-byte length. Two different lists of
// fields can therefore never give the same bytes, which is what MACs and associated data are computed over.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace agentvault {

using Bytes = std::vector<std::uint8_t>;
using ByteView = std::span<const std::uint8_t>;

inline ByteView as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
inline std::string_view as_text(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Writes the canonical form.
class ByteWriter {
 public:
  ByteWriter& u8(std::uint8_t value) {
    out_.push_back(value);
    return *this;
  }
  ByteWriter& u16(std::uint16_t value) { return big_endian(value, 2); }
  ByteWriter& u32(std::uint32_t value) { return big_endian(value, 4); }
  ByteWriter& u64(std::uint64_t value) { return big_endian(value, 8); }
  /// Appends without a length: for fixed-size fields only.
  ByteWriter& raw(ByteView bytes) {
    out_.insert(out_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  ByteWriter& blob(ByteView bytes) { return u32(static_cast<std::uint32_t>(bytes.size())).raw(bytes); }
  ByteWriter& text(std::string_view value) { return blob(as_bytes(value)); }

  const Bytes& bytes() const { return out_; }

 private:
  ByteWriter& big_endian(std::uint64_t value, int width) {
    for (int shift = 8 * (width - 1); shift >= 0; shift -= 8) out_.push_back(static_cast<std::uint8_t>(value >> shift));
    return *this;
  }
  Bytes out_;
};

inline std::uint64_t read_big_endian(ByteView bytes) {
  std::uint64_t value = 0;
  for (auto byte : bytes) value = value << 8 | byte;
  return value;
}

}  // namespace agentvault
