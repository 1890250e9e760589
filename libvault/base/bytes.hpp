// Byte sequences that are not secret, and the one canonical way to lay several of them end to end.
//
// Canonical form: integers big-endian at fixed width; strings and blobs behind a 4-byte length. Two different lists of
// fields can therefore never give the same bytes, which is what MACs and associated data are computed over.
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
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
  ByteWriter& reserve(std::size_t size) {
    out_.reserve(size);
    return *this;
  }
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

/// Reads it. Throws std::out_of_range where a field is cut.
class ByteReader {
 public:
  explicit ByteReader(ByteView bytes) : rest_(bytes) {}
  std::uint64_t number(std::size_t width) { return read_big_endian(raw(width)); }
  ByteView blob() { return raw(static_cast<std::size_t>(number(4))); }
  std::string text() { return std::string(as_text(blob())); }
  ByteView raw(std::size_t size) {
    if (size > rest_.size()) throw std::out_of_range("a message was cut");
    const auto part = rest_.first(size);
    rest_ = rest_.subspan(size);
    return part;
  }

 private:
  ByteView rest_;
};

}  // namespace agentvault
