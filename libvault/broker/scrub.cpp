#include "broker/scrub.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/crypto.hpp"

namespace agentvault::broker {
namespace {

constexpr char kMask = '*';

std::uint64_t rotate(std::uint64_t value, std::size_t by) {
  return std::rotl(value, static_cast<int>(by % 64));
}

}  // namespace

bool could_be_in_secret(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x20 && byte != 0x7f;
}

bool Needles::add(std::size_t owner, const SecretBytes& secret) {
  bool whole = true;
  const ByteView bytes = secret.reveal();
  const auto usable = [](std::uint8_t byte) { return could_be_in_secret(static_cast<char>(byte)); };
  auto at = bytes.begin();
  while ((at = std::find_if(at, bytes.end(), usable)) != bytes.end()) {
    const auto end = std::find_if_not(at, bytes.end(), usable);
    const ByteView run(at, end);
    at = end;
    if (run.size() < kShortest) {
      whole = false;
      continue;
    }
    for (std::size_t begin = 0;; begin += kLongest) {
      // The last piece reaches back, so that none is short.
      const std::size_t size = std::min(run.size(), kLongest);
      const std::size_t from = std::min(begin, run.size() - size);
      const ByteView piece = run.subspan(from, size);
      by_size_[size].push_back({owner, hash(piece), SecretBytes::copy_of(piece)});
      if (from + size == run.size()) break;
    }
  }
  return whole;
}

Needles::Needles() {
  // The bytes go through this table before they are compared with anything, so that what an agent can choose tells it
  // nothing about the work that is done.
  const Bytes random = random_bytes(sizeof table_);
  std::memcpy(table_.data(), random.data(), random.size());
}

std::uint64_t Needles::hash(ByteView bytes) const {
  std::uint64_t value = 0;
  for (auto byte : bytes) value = rotate(value, 1) ^ table_[byte];
  return value;
}

/// A rolling hash (cyclic polynomial) over every window of each length that occurs: the same work for every byte,
/// whatever the byte and whatever the needles hold. Faster searches skip by what they know of the needle, and an agent
/// that chooses the text could read the needle off their timing.
std::vector<Needles::Hit> Needles::find(std::string_view text) const {
  std::vector<Hit> hits;
  const ByteView bytes = as_bytes(text);
  for (const auto& [size, needles] : by_size_) {
    if (bytes.size() < size) continue;
    std::uint64_t value = hash(bytes.first(size));
    for (std::size_t offset = 0;; ++offset) {
      for (const auto& needle : needles) {
        if (value == needle.hash && constant_time_equal(needle.bytes.reveal(), bytes.subspan(offset, size))) {
          hits.push_back({needle.owner, offset, size});
        }
      }
      if (offset + size == bytes.size()) break;
      value = rotate(value, 1) ^ rotate(table_[bytes[offset]], size) ^ table_[bytes[offset + size]];
    }
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
