// The preset loader: any text is a preset or a clear error; a preset survives as a binding.
#include <cstdlib>

#include "base/error.hpp"
#include "provider/preset.hpp"

using namespace agentvault;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    auto preset = provider::parse_preset(as_text({data, size}), "fuzz.toml");
    if (preset.needs_url) preset.binding.origin = net::Origin::parse("https://example.org");
    const auto text = preset.binding.to_json();
    if (provider::Binding::from_json(text).to_json() != text) std::abort();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::usage) std::abort();
  }
  return 0;
}
