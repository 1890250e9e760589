#include "broker/scrub.hpp"

#include <algorithm>
#include <cstring>

namespace agentvault::broker {
namespace {

constexpr char kMask = '*';

/// Calls `found` with the offset of each occurrence.
template <class Found>
void search(std::string_view text, ByteView needle, Found found) {
  const char* at = text.data();
  std::size_t left = text.size();
  while (left >= needle.size()) {
    const void* hit = ::memmem(at, left, needle.data(), needle.size());
    if (hit == nullptr) return;
    const auto offset = static_cast<std::size_t>(static_cast<const char*>(hit) - text.data());
    found(offset);
    at = text.data() + offset + 1;  // occurrences may overlap
    left = text.size() - offset - 1;
  }
}

}  // namespace

bool could_be_in_secret(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte > 0x20 && byte != 0x7f;
}

void Needles::add(std::size_t owner, const SecretBytes& secret) {
  const ByteView bytes = secret.reveal();
  const auto usable = [](std::uint8_t byte) { return could_be_in_secret(static_cast<char>(byte)); };
  auto at = bytes.begin();
  while ((at = std::find_if(at, bytes.end(), usable)) != bytes.end()) {
    const auto end = std::find_if_not(at, bytes.end(), usable);
    const ByteView run(at, end);
    at = end;
    if (run.size() < kShortest) continue;
    for (std::size_t begin = 0;; begin += kLongest) {
      // The last piece reaches back, so that none is short.
      const std::size_t size = std::min(run.size(), kLongest);
      const std::size_t from = std::min(begin, run.size() - size);
      needles_.push_back({owner, SecretBytes::copy_of(run.subspan(from, size))});
      if (from + size == run.size()) break;
    }
  }
}

std::vector<Needles::Hit> Needles::find(std::string_view text) const {
  std::vector<Hit> hits;
  for (const auto& needle : needles_) {
    const auto bytes = needle.bytes.reveal();
    search(text, bytes, [&](std::size_t offset) { hits.push_back({needle.owner, offset, bytes.size()}); });
  }
  return hits;
}

void Scrubber::whole(std::string& text) {
  for (const auto& hit : needles_.find(text)) {
    hits_.push_back(hit.owner);
    std::memset(text.data() + hit.offset, kMask, hit.size);
  }
}

void Scrubber::feed(ByteView bytes, std::string& out) {
  const std::size_t known = held_.size();
  held_.append(as_text(bytes));
  masked_.resize(held_.size(), '\0');
  for (const auto& hit : needles_.find(held_)) {
    if (hit.offset + hit.size <= known) continue;  // found with an earlier chunk
    hits_.push_back(hit.owner);
    std::memset(masked_.data() + hit.offset, 1, hit.size);
  }
  const std::size_t most = std::min(held_.size(), Needles::kLongest - 1);
  std::size_t keep = 0;
  while (keep < most && could_be_in_secret(held_[held_.size() - 1 - keep])) ++keep;
  release(held_.size() - keep, out);
}

void Scrubber::finish(std::string& out) {
  release(held_.size(), out);
}

/// No occurrence can begin before `size` and end after what has come: it would be longer than kLongest, or hold a byte
/// that no secret holds.
void Scrubber::release(std::size_t size, std::string& out) {
  const std::size_t begin = out.size();
  out.append(held_, 0, size);
  for (std::size_t i = 0; i < size && !hits_.empty(); ++i) {
    if (masked_[i] != 0) out[begin + i] = kMask;
  }
  held_.erase(0, size);
  masked_.erase(0, size);
}

}  // namespace agentvault::broker
