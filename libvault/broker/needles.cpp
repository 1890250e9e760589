#include "broker/needles.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/crypto.hpp"
#include "broker/secret_forms.hpp"

namespace agentvault::broker {
namespace {

std::uint64_t rotate(std::uint64_t value, std::size_t by) {
  return std::rotl(value, static_cast<int>(by % 64));
}

}  // namespace

bool could_be_in_secret(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x20 && byte != 0x7f;
}

Needles::Needles() {
  // The bytes go through this table before they are compared with anything, so that what an agent can choose tells it
  // nothing about the work that is done.
  const Bytes random = random_bytes(sizeof table_);
  std::memcpy(table_.data(), random.data(), random.size());
}

bool Needles::add(std::size_t owner, const SecretBytes& secret) {
  const bool whole = add_runs(owner, secret.reveal());
  // The forms of a short secret would hit by chance like itself.
  if (secret.size() < kShortest) return whole;
  for (const auto& form : encoded_forms(secret)) add_runs(owner, form.reveal());
  return whole;
}

bool Needles::add_runs(std::size_t owner, ByteView bytes) {
  bool whole = true;
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
      add_piece(owner, run.subspan(from, size));
      if (from + size == run.size()) break;
    }
  }
  return whole;
}

void Needles::add_piece(std::size_t owner, ByteView piece) {
  const std::uint64_t beginning = hash(piece.first(kShortest));
  filter_[beginning % kFilterBits / 64] |= std::uint64_t{1} << (beginning % 64);
  auto& needles = by_beginning_[beginning];
  needles.push_back({owner, SecretBytes::copy_of(piece)});
  needles.back().bytes.hide();
}

std::uint64_t Needles::hash(ByteView bytes) const {
  std::uint64_t value = 0;
  for (auto byte : bytes) value = rotate(value, 1) ^ table_[byte];
  return value;
}

/// A rolling hash (cyclic polynomial) over every window of kShortest bytes, and a filter of the needles' beginnings.
/// Which windows the filter lets through is as random as the table. Only whoever sends the first 16 bytes of a needle
/// makes the search do more, and they cannot be found one by one.
std::vector<Needles::Hit> Needles::find(std::string_view text) const {
  std::vector<Hit> hits;
  const ByteView bytes = as_bytes(text);
  if (bytes.size() < kShortest) return hits;
  std::uint64_t value = hash(bytes.first(kShortest));
  for (std::size_t offset = 0;; ++offset) {
    if (may_begin(value)) {
      if (const auto found = by_beginning_.find(value); found != by_beginning_.end()) {
        for (const auto& needle : found->second) {
          const std::size_t size = needle.bytes.size();
          if (size <= bytes.size() - offset &&
              constant_time_equal(needle.bytes.reveal(), bytes.subspan(offset, size))) {
            hits.push_back({needle.owner, offset, size});
          }
        }
      }
    }
    if (offset + kShortest == bytes.size()) return hits;
    value = rotate(value, 1) ^ rotate(table_[bytes[offset]], kShortest) ^ table_[bytes[offset + kShortest]];
  }
}

}  // namespace agentvault::broker
