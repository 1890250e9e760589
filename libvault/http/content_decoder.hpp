// Content codings (RFC 9110, section 8.4.1): gzip, deflate, br (RFC 7932), zstd (RFC 8878). Streaming and bounded: what
// comes from an upstream may be made to expand without end.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "http/fields.hpp"

namespace agentvault::http {

class ContentDecoder {
 public:
  /// False: no more is wanted.
  using Sink = std::function<bool(ByteView)>;

  virtual ~ContentDecoder() = default;
  /// False: malformed, or it expands beyond the bounds. Then nothing more must be fed.
  virtual bool feed(ByteView bytes, const Sink& sink) = 0;
  /// The body has ended. False: in the middle of the coding.
  virtual bool finish() = 0;

  /// How much may come out of all codings together: this, and this many times what went in.
  static constexpr std::uint64_t kFreeOutput = std::uint64_t{4} << 20;
  static constexpr std::uint64_t kMaxRatio = 256;
  /// How much memory all decoders of the process may have together, windows above all. One that needs more fails.
  static constexpr std::size_t kMostMemory = std::size_t{128} << 20;
  /// How many codings may lie on top of each other.
  static constexpr std::size_t kMaxCodings = 2;
};

/// The codings that a head names, in the order in which they were applied, without identity. "x-gzip" is gzip.
std::vector<std::string> content_codings(const Fields& fields);

/// Decodes all of them. Null: one of them is unknown, or there are too many.
std::unique_ptr<ContentDecoder> make_decoder(const std::vector<std::string>& codings);

}  // namespace agentvault::http
