// Bodies: where one ends, and what is in it (RFC 9112, sections 6 and 7). Decoding is incremental and strict; what is
// decoded is framed again for the other side, so no odd framing passes through.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/bytes.hpp"
#include "http/head.hpp"

namespace agentvault::http {

class BodyDecoder {
 public:
  using Sink = std::function<void(ByteView)>;

  explicit BodyDecoder(Framing framing);

  /// Takes bytes from the front, hands the body's to `sink`, returns how many it took. It takes all of them unless the
  /// body ends before, or is malformed (then failed()).
  std::size_t feed(ByteView bytes, const Sink& sink);
  /// The connection ended. Completes a body that ends with it, fails every other unfinished one.
  void end_of_input();

  bool done() const { return state_ == State::done; }
  bool failed() const { return state_ == State::failed; }
  /// Trailer fields of a chunked body, once done.
  const Fields& trailers() const { return trailers_; }

 private:
  enum class State { counted, until_end, size, extension, size_lf, data, data_cr, data_lf, trailer, done, failed };
  void step(char c);
  void trailer_byte(char c);

  State state_;
  std::uint64_t left_ = 0;
  int digits_ = 0;
  std::size_t extension_ = 0;
  std::string trailer_text_;
  Fields trailers_;
};

/// One chunk, or nothing for no bytes (an empty chunk would end the body).
void write_chunk(ByteView bytes, std::string& out);
/// The end of a chunked body.
void write_last_chunk(const Fields& trailers, std::string& out);

}  // namespace agentvault::http
