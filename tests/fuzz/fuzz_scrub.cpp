// The scrubber: no secret leaves it, nothing else changes, and the cut of the chunks does not matter.
#include <cstdlib>

#include "broker/scrub.hpp"

using namespace agentvault;
using namespace agentvault::broker;

namespace {

std::string run(const Needles& needles, ByteView input, std::size_t step) {
  Scrubber scrubber(needles);
  std::string out;
  for (std::size_t at = 0; at < input.size(); at += step) scrubber.feed(input.subspan(at, std::min(step, input.size() - at)), out);
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
  if (needles.found_in(whole)) {
    // Only a secret made of the mask itself may still be there.
    for (auto byte : secret) {
      if (could_be_in_secret(static_cast<char>(byte)) && byte != '*') std::abort();
    }
  }
  for (std::size_t i = 0; i < whole.size(); ++i) {
    if (whole[i] != static_cast<char>(input[i]) && whole[i] != '*') std::abort();
  }
  return 0;
}
