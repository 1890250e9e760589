// The border to the decompressors: any bytes in any coding are decoded within the bounds or refused, and the cut of the
// chunks does not matter.
#include <algorithm>
#include <cstdlib>

#include "http/content_decoder.hpp"

using namespace agentvault;
using namespace agentvault::http;

namespace {

struct Outcome {
  bool sound = false;
  std::string out;
};

Outcome decode(const std::vector<std::string>& codings, ByteView input, std::size_t step) {
  const auto decoder = make_decoder(codings);
  Outcome outcome;
  const auto sink = [&](ByteView part) {
    outcome.out += as_text(part);
    return true;
  };
  for (std::size_t at = 0; at < input.size(); at += step) {
    if (!decoder->feed(input.subspan(at, std::min(step, input.size() - at)), sink)) return outcome;
  }
  outcome.sound = decoder->finish();
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  static const std::vector<std::vector<std::string>> codings{
      {"gzip"}, {"deflate"}, {"br"}, {"zstd"}, {"gzip", "deflate"}, {"br", "gzip"}, {"zstd", "br"}};
  const auto& chosen = codings[data[0] % codings.size()];
  const ByteView input(data + 2, size - 2);
  const auto whole = decode(chosen, input, std::max<std::size_t>(input.size(), 1));
  if (whole.out.size() > ContentDecoder::kFreeOutput + ContentDecoder::kMaxRatio * input.size() + 65536) std::abort();
  const auto parts = decode(chosen, input, 1 + data[1] % 64);
  // The bounds grow with what has come so far: cut in pieces, a body may be refused a little earlier.
  if (parts.sound && (!whole.sound || parts.out != whole.out)) std::abort();
  if (whole.sound && !parts.sound && whole.out.size() < ContentDecoder::kFreeOutput) std::abort();
  return 0;
}
