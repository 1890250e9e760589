#include "http/body.hpp"

#include <algorithm>
#include <cstdio>

namespace agentvault::http {
namespace {

constexpr int kMaxSizeDigits = 13;          // 2^52 bytes
constexpr std::size_t kMaxExtension = 256;  // of one chunk; the content is ignored, as RFC 9112 asks
constexpr std::size_t kMaxTrailers = 16 * 1024;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

BodyDecoder::BodyDecoder(Framing framing) : state_(State::done), left_(framing.length) {
  switch (framing.kind) {
    case Framing::Kind::none:
      break;
    case Framing::Kind::length:
      state_ = framing.length == 0 ? State::done : State::counted;
      break;
    case Framing::Kind::chunked:
      state_ = State::size;
      left_ = 0;
      break;
    case Framing::Kind::until_end:
      state_ = State::until_end;
      break;
  }
}

std::size_t BodyDecoder::feed(ByteView bytes, const Sink& sink) {
  std::size_t used = 0;
  while (used < bytes.size() && !done() && !failed()) {
    const ByteView rest = bytes.subspan(used);
    if (state_ == State::until_end) {
      sink(rest);
      return bytes.size();
    }
    if (state_ == State::counted || state_ == State::data) {
      const auto take = static_cast<std::size_t>(std::min<std::uint64_t>(left_, rest.size()));
      left_ -= take;
      used += take;
      if (left_ == 0) state_ = state_ == State::counted ? State::done : State::data_cr;
      sink(rest.first(take));
      continue;
    }
    step(static_cast<char>(rest[0]));
    ++used;
  }
  return used;
}

void BodyDecoder::step(char c) {
  switch (state_) {
    case State::size: {
      const int digit = hex_digit(c);
      if (digit >= 0 && digits_ < kMaxSizeDigits) {
        left_ = left_ * 16 + static_cast<std::uint64_t>(digit);
        ++digits_;
      } else if (digits_ > 0 && c == ';') {
        state_ = State::extension;
        extension_ = 0;
      } else {
        state_ = digits_ > 0 && c == '\r' ? State::size_lf : State::failed;
      }
      break;
    }
    case State::extension: {
      const bool allowed = is_field_value({&c, 1}) && ++extension_ <= kMaxExtension;
      state_ = c == '\r' ? State::size_lf : allowed ? State::extension : State::failed;
      break;
    }
    case State::size_lf:
      state_ = c == '\n' ? State::data : State::failed;
      if (state_ == State::data && left_ == 0) state_ = State::trailer;
      break;
    case State::data_cr:
      state_ = c == '\r' ? State::data_lf : State::failed;
      break;
    case State::data_lf:
      state_ = c == '\n' ? State::size : State::failed;
      digits_ = 0;
      break;
    case State::trailer:
      trailer_byte(c);
      break;
    default:
      state_ = State::failed;
  }
}

void BodyDecoder::trailer_byte(char c) {
  trailer_text_.push_back(c);
  const bool line_ended = trailer_text_.ends_with("\r\n");
  if (trailer_text_.size() > kMaxTrailers || (c == '\n' && !line_ended)) {
    state_ = State::failed;
  } else if (trailer_text_ == "\r\n" || trailer_text_.ends_with("\r\n\r\n")) {
    trailer_text_.resize(trailer_text_.size() - 2);
    auto fields = parse_field_lines(trailer_text_);
    state_ = fields ? State::done : State::failed;
    if (fields) trailers_ = std::move(*fields);
    trailer_text_.clear();
  }
}

void BodyDecoder::end_of_input() {
  if (state_ == State::until_end) {
    state_ = State::done;
  } else if (!done()) {
    state_ = State::failed;
  }
}

void write_chunk(ByteView bytes, std::string& out) {
  if (bytes.empty()) return;
  char size[20];
  std::snprintf(size, sizeof size, "%zx\r\n", bytes.size());
  out += size;
  out += as_text(bytes);
  out += "\r\n";
}

void write_last_chunk(const Fields& trailers, std::string& out) {
  out += "0\r\n";
  write_fields(trailers, out);
  out += "\r\n";
}

}  // namespace agentvault::http
