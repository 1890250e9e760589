// The body decoder: the same bytes give the same body, however they are cut; what is decoded survives being framed
// again.
#include <cstdlib>

#include "http/body.hpp"

using namespace agentvault;
using namespace agentvault::http;

namespace {

struct Outcome {
  std::string data;
  std::size_t used = 0;
  bool done = false;
  bool failed = false;
  bool operator==(const Outcome&) const = default;
};

Outcome decode(ByteView input, std::size_t step, Fields* trailers = nullptr) {
  BodyDecoder decoder({Framing::Kind::chunked, 0});
  Outcome out;
  while (out.used < input.size() && !decoder.done() && !decoder.failed()) {
    const auto part = input.subspan(out.used, std::min(step, input.size() - out.used));
    out.used += decoder.feed(part, [&](ByteView bytes) { out.data += as_text(bytes); });
  }
  out.done = decoder.done();
  out.failed = decoder.failed();
  if (trailers != nullptr) *trailers = decoder.trailers();
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const ByteView input(data + 1, size - 1);
  Fields trailers;
  const Outcome whole = decode(input, input.size() + 1, &trailers);
  if (!(decode(input, 1 + data[0] % 16) == whole)) std::abort();
  if (!whole.done) return 0;
  std::string again;
  write_chunk(as_bytes(whole.data), again);
  write_last_chunk(trailers, again);
  const Outcome twice = decode(as_bytes(again), 7);
  if (!twice.done || twice.data != whole.data) std::abort();
  return 0;
}
