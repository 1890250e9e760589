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

TEST_CASE("all decoders together have so much memory, and give it back") {
  // A frame with a window of 8 MiB, and a raw block of five bytes (RFC 8878, sections 3.1.1.1 and 3.1.1.2).
  const Bytes zstd{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x68, 0x28, 0x00, 0x00, 'h', 'e', 'l', 'l', 'o'};
  // A stored block of five bytes that is not the last (RFC 1951, section 3.2.4).
  const Bytes gzip{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x00, 0x05, 0x00, 0xfa, 0xff, 'h', 'e', 'l', 'l', 'o'};
  const auto sink = [](ByteView) { return true; };
  const auto fill = [&](const char* coding, const Bytes& bytes, std::size_t most) {
    std::vector<std::unique_ptr<ContentDecoder>> all;
    do {
      all.push_back(make_decoder({coding}));
    } while (all.back()->feed(bytes, sink) && all.size() < most);
    return all.size();
  };
  for (int round = 0; round < 2; ++round) {
    const auto windows = fill("zstd", zstd, 100);
    CHECK(windows > 10);
    CHECK(windows <= 16);
    const auto small = fill("gzip", gzip, 100'000);
    CHECK(small > 2'000);
    CHECK(small < 100'000);
  }
  CHECK(make_decoder({"zstd"})->feed(zstd, sink));
}
