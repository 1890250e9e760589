// Frames of a server: whatever comes, no secret leaves inside one message, sizes stay as they are, and the cut of the
// chunks does not matter.
#include <algorithm>
#include <cstdlib>

#include "scrub/websocket_scrubber.hpp"

using namespace agentvault;
using namespace agentvault::scrub;

namespace {

constexpr std::string_view kSecret = "sk-stand-in-0123456789";

bool run(const Needles& needles, ByteView input, std::size_t step, std::string& out) {
  Scrubber scrubber(needles);
  WebSocketScrubber frames(scrubber);
  for (std::size_t at = 0; at < input.size(); at += step) {
    if (!frames.feed(input.subspan(at, std::min(step, input.size() - at)), out)) return false;
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  static const Needles needles = [] {
    Needles made;
    made.add(0, SecretBytes::copy_of(as_bytes(kSecret)));
    return made;
  }();
  const ByteView input(data + 1, size - 1);
  std::string whole, parts;
  const bool sound = run(needles, input, input.size(), whole);
  if (run(needles, input, 1 + data[0] % 32, parts) != sound || whole != parts || whole.size() > input.size())
    std::abort();
  for (std::size_t i = 0; i < whole.size() && sound; ++i) {
    if (whole[i] != static_cast<char>(input[i]) && whole[i] != '*') std::abort();
  }
  return 0;
}
