// JSON bodies that a key goes into: what is cut out is one text of a document that has no key twice, and the document
// that is laid out anew around another text is again one whose text can be cut out.
#include <cstdlib>
#include <string>

#include "broker/json_body.hpp"

using namespace agentvault;
using namespace agentvault::broker;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string pointers[]{"/key", "/auth/key", "/a/0/k", "/~0/~1"};
  if (size == 0) return 0;
  const std::string& pointer = pointers[data[0] % 4];
  const auto cut = cut_text_out(std::string(reinterpret_cast<const char*>(data + 1), size - 1), pointer);
  const auto* text = std::get_if<CutText>(&cut);
  if (text == nullptr) return 0;
  if (!text->before.ends_with('"') || !text->behind.starts_with('"')) std::abort();
  const auto again = cut_text_out(text->before + "other" + text->behind, pointer);
  const auto* same = std::get_if<CutText>(&again);
  if (same == nullptr || same->value != "other" || same->before != text->before || same->behind != text->behind) {
    std::abort();
  }
  return 0;
}
