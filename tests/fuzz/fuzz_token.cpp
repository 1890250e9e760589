// The token parser: what it accepts is exactly what it would write, and no key makes it good by accident.
#include <cstdlib>

#include "base/encoding.hpp"
#include "token/token.hpp"

using namespace agentvault;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input(data, size);
  static const SecretBytes key = random_secret(32);
  for (const std::string& text : {std::string(as_text(input)), std::string(token::kPrefix) + base64url(input)}) {
    const auto decoded = token::decode(text);
    if (!decoded) continue;
    if (token::encode(*decoded) != text || token::verify(key, *decoded)) std::abort();
    (void)token::first_unmet(*decoded, {1, "openai", "GET", "/v1/models"});
    if (decoded->caveats.size() < token::kMaxCaveats) {
      const auto narrower = token::attenuate(*decoded, {token::Credential{"openai"}});
      const std::string longer = token::encode(narrower);
      if (longer.size() <= token::kMaxText && !token::decode(longer)) std::abort();
    }
  }
  return 0;
}
