// The scrubber: no secret leaves it, nothing else changes, and the cut of the chunks does not matter.
#include <algorithm>
#include <cstdlib>

#include "scrub/scrubber.hpp"

using namespace agentvault;
using namespace agentvault::scrub;

namespace {

std::string run(const Needles& needles, ByteView input, std::size_t step) {
  Scrubber scrubber(needles);
  std::string out;
  for (std::size_t at = 0; at < input.size(); at += step)
    scrubber.feed(input.subspan(at, std::min(step, input.size() - at)), out);
  scrubber.finish(out);
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 20) return 0;
  const std::size_t secret_size = std::min<std::size_t>(16 + data[0] % 64, size - 2);
  const ByteView secret(data + 2, secret_size);
  const ByteView input(data + 2, size - 2);  // begins with the secret
  Needles needles;
  needles.add(0, SecretBytes::copy_of(secret));
  const std::string whole = run(needles, input, input.size());
  if (whole.size() != input.size() || run(needles, input, 1 + data[1] % 32) != whole) std::abort();
  // A secret that holds the mask itself may arise from masking.
  const bool holds_mask = std::find(secret.begin(), secret.end(), '*') != secret.end();
  if (!holds_mask && needles.found_in(whole)) std::abort();
  for (std::size_t i = 0; i < whole.size(); ++i) {
    if (whole[i] != static_cast<char>(input[i]) && whole[i] != '*') std::abort();
  }
  return 0;
}
