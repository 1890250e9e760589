// Content codings in pieces: where the cuts fall must not matter.
#include <algorithm>

#include "base/file.hpp"
#include "catch.hpp"
#include "http/content_decoder.hpp"

using namespace agentvault;
using namespace agentvault::http;

namespace {

struct Outcome {
  bool sound = false;
  std::string text;
};

Outcome decode(const std::vector<std::string>& codings, ByteView input, std::size_t step) {
  const auto decoder = make_decoder(codings);
  Outcome out;
  for (std::size_t at = 0; at < input.size(); at += step) {
    const bool fed = decoder->feed(input.subspan(at, std::min(step, input.size() - at)), [&](ByteView part) {
      out.text += as_text(part);
      return true;
    });
    if (!fed) return out;
  }
  out.sound = decoder->finish();
  return out;
}

}  // namespace

TEST_CASE("a zstd frame under brotli is complete, however it is cut") {
  // A fuzzer's find: brotli hands on no bytes at all between two pieces, and zstd must not begin another frame for
  // that.
  const auto file =
      read_file(std::filesystem::path(AGENTVAULT_SOURCE_DIR) / "tests/fuzz/corpus/coding/frame_end", 4096);
  REQUIRE(file);
  const auto body = ByteView(*file).subspan(2);
  const auto whole = decode({"zstd", "br"}, body, body.size());
  REQUIRE(whole.sound);
  for (std::size_t step = 1; step < body.size(); ++step) {
    const auto parts = decode({"zstd", "br"}, body, step);
    CHECK(parts.sound);
    CHECK(parts.text == whole.text);
  }
}
