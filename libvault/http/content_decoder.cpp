#include "http/content_decoder.hpp"

#include <brotli/decode.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "base/text.hpp"

namespace agentvault::http {
namespace {

constexpr std::size_t kStep = 16 * 1024;
constexpr int kMaxWindowLog = 23;  // 8 MiB, as RFC 8878 section 3.1.1.1.2 recommends to support

/// What all decoders have together. One thread decodes.
std::size_t memory_in_use = 0;

bool take_memory(std::size_t size) {
  if (size > ContentDecoder::kMostMemory - memory_in_use) return false;
  memory_in_use += size;
  return true;
}

/// malloc() with a count; the size stands before what is returned.
constexpr std::size_t kSizeField = alignof(std::max_align_t);
void* counted_allocate(std::size_t size) {
  if (size > ContentDecoder::kMostMemory || !take_memory(size + kSizeField)) return nullptr;
  auto* block = static_cast<std::uint8_t*>(std::malloc(size + kSizeField));
  if (block == nullptr) {
    memory_in_use -= size + kSizeField;
    return nullptr;
  }
  std::memcpy(block, &size, sizeof size);
  return block + kSizeField;
}
void counted_free(void* address) {
  if (address == nullptr) return;
  auto* block = static_cast<std::uint8_t*>(address) - kSizeField;
  std::size_t size = 0;
  std::memcpy(&size, block, sizeof size);
  memory_in_use -= size + kSizeField;
  std::free(block);
}

/// gzip, and "deflate": zlib's format (RFC 1950) by the book, raw (RFC 1951) from servers that misread it.
class Zlib final : public ContentDecoder {
 public:
  explicit Zlib(bool gzip) : gzip_(gzip) {}
  ~Zlib() override {
    if (ready_) ::inflateEnd(&state_);
  }
  Zlib(const Zlib&) = delete;
  Zlib& operator=(const Zlib&) = delete;

  bool feed(ByteView bytes, const Sink& sink) override {
    if (bytes.empty()) return true;
    if (!ready_ && !begin(bytes[0])) return false;
    std::array<std::uint8_t, kStep> out;
    state_.next_in = const_cast<Bytef*>(bytes.data());
    state_.avail_in = static_cast<uInt>(bytes.size());
    do {
      // A gzip body may have several members; bytes behind the end of deflate are nobody's.
      if (ended_ && (!gzip_ || ::inflateReset(&state_) != Z_OK)) return false;
      ended_ = false;
      state_.next_out = out.data();
      state_.avail_out = static_cast<uInt>(out.size());
      const int result = ::inflate(&state_, Z_NO_FLUSH);
      if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) return false;
      ended_ = result == Z_STREAM_END;
      if (!sink({out.data(), out.size() - state_.avail_out})) return false;
    } while (state_.avail_in > 0 || (state_.avail_out == 0 && !ended_));
    return true;
  }
  bool finish() override { return ended_ || !ready_; }

 private:
  bool begin(std::uint8_t first) {
    constexpr int gzip_bits = 15 + 16, zlib_bits = 15, raw_bits = -15;
    const bool zlib_header = (first & 0x0f) == Z_DEFLATED;
    state_.zalloc = [](voidpf, uInt count, uInt size) { return counted_allocate(std::size_t{count} * size); };
    state_.zfree = [](voidpf, voidpf address) { counted_free(address); };
    ready_ = ::inflateInit2(&state_, gzip_ ? gzip_bits : zlib_header ? zlib_bits : raw_bits) == Z_OK;
    return ready_;
  }

  bool gzip_;
  bool ready_ = false;
  bool ended_ = false;
  z_stream state_{};
};

class Brotli final : public ContentDecoder {
 public:
  Brotli()
      : state_(::BrotliDecoderCreateInstance([](void*, std::size_t size) { return counted_allocate(size); },
                                             [](void*, void* address) { counted_free(address); }, nullptr)) {}
  ~Brotli() override { ::BrotliDecoderDestroyInstance(state_); }
  Brotli(const Brotli&) = delete;
  Brotli& operator=(const Brotli&) = delete;

  bool feed(ByteView bytes, const Sink& sink) override {
    if (state_ == nullptr || (ended_ && !bytes.empty())) return false;
    std::array<std::uint8_t, kStep> out;
    const std::uint8_t* next_in = bytes.data();
    std::size_t left_in = bytes.size();
    for (;;) {
      std::uint8_t* next_out = out.data();
      std::size_t left_out = out.size();
      const auto result = ::BrotliDecoderDecompressStream(state_, &left_in, &next_in, &left_out, &next_out, nullptr);
      if (result == BROTLI_DECODER_RESULT_ERROR || !sink({out.data(), out.size() - left_out})) return false;
      ended_ = result == BROTLI_DECODER_RESULT_SUCCESS;
      if (ended_) return left_in == 0;
      if (result == BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT) return true;
    }
  }
  bool finish() override { return ended_; }

 private:
  BrotliDecoderState* state_;
  bool ended_ = false;
};

class Zstd final : public ContentDecoder {
 public:
  Zstd() : state_(::ZSTD_createDStream()) {
    if (state_ != nullptr) ::ZSTD_DCtx_setParameter(state_, ZSTD_d_windowLogMax, kMaxWindowLog);
  }
  ~Zstd() override {
    memory_in_use -= counted_;
    ::ZSTD_freeDStream(state_);
  }
  Zstd(const Zstd&) = delete;
  Zstd& operator=(const Zstd&) = delete;

  bool feed(ByteView bytes, const Sink& sink) override {
    if (state_ == nullptr) return false;
    std::array<std::uint8_t, kStep> space;
    ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
    bool more = false;
    while (in.pos < in.size || more) {
      ZSTD_outBuffer out{space.data(), space.size(), 0};
      const std::size_t result = ::ZSTD_decompressStream(state_, &out, &in);
      if (::ZSTD_isError(result) != 0 || !count_memory() || !sink({space.data(), out.pos})) return false;
      ended_ = result == 0;
      // Asked again behind the end of a frame, it would begin another.
      more = !ended_ && out.pos == out.size;
    }
    return true;
  }
  bool finish() override { return ended_; }

 private:
  /// It takes no allocator of ours, but tells what it has.
  bool count_memory() {
    const std::size_t now = ::ZSTD_sizeof_DStream(state_);
    if (now > counted_ && !take_memory(now - counted_)) return false;
    if (now < counted_) memory_in_use -= counted_ - now;
    counted_ = now;
    return true;
  }

  ZSTD_DStream* state_;
  std::size_t counted_ = 0;
  bool ended_ = true;  // no frame at all is an empty body
};

/// The last coding that was applied is taken off first. Keeps the bounds.
class Stacked final : public ContentDecoder {
 public:
  explicit Stacked(std::vector<std::unique_ptr<ContentDecoder>> layers) : layers_(std::move(layers)) {}

  bool feed(ByteView bytes, const Sink& sink) override {
    in_ += bytes.size();
    return feed_layer(0, bytes, sink);
  }
  bool finish() override {
    return std::all_of(layers_.begin(), layers_.end(), [](const auto& layer) { return layer->finish(); });
  }

 private:
  bool feed_layer(std::size_t index, ByteView bytes, const Sink& sink) {
    // Also between two codings: what lies there could be a bomb itself.
    out_ += index > 0 ? bytes.size() : 0;
    if (out_ > kFreeOutput + kMaxRatio * in_) return false;
    if (index == layers_.size()) return bytes.empty() || sink(bytes);
    return layers_[index]->feed(bytes, [&](ByteView part) { return feed_layer(index + 1, part, sink); });
  }

  std::vector<std::unique_ptr<ContentDecoder>> layers_;
  std::uint64_t in_ = 0;
  std::uint64_t out_ = 0;
};

std::unique_ptr<ContentDecoder> make_one(const std::string& coding) {
  if (coding == "gzip") return std::make_unique<Zlib>(true);
  if (coding == "deflate") return std::make_unique<Zlib>(false);
  if (coding == "br") return std::make_unique<Brotli>();
  if (coding == "zstd") return std::make_unique<Zstd>();
  return nullptr;
}

}  // namespace

std::vector<std::string> content_codings(const Fields& fields) {
  std::vector<std::string> codings;
  for (const auto& field : fields.list()) {
    if (!equal_ignoring_case(field.name, "content-encoding")) continue;
    for (auto part : split(field.value, ',')) {
      std::string coding = lower(trim(part));
      if (coding == "x-gzip") coding = "gzip";
      if (!coding.empty() && coding != "identity") codings.push_back(std::move(coding));
    }
  }
  return codings;
}

std::unique_ptr<ContentDecoder> make_decoder(const std::vector<std::string>& codings) {
  if (codings.size() > ContentDecoder::kMaxCodings) return nullptr;
  std::vector<std::unique_ptr<ContentDecoder>> layers;
  for (auto coding = codings.rbegin(); coding != codings.rend(); ++coding) {
    auto layer = make_one(*coding);
    if (!layer) return nullptr;
    layers.push_back(std::move(layer));
  }
  return std::make_unique<Stacked>(std::move(layers));
}

}  // namespace agentvault::http
