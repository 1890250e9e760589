#include "scrub/needles.hpp"

#include <algorithm>
#include <cstring>

#include "base/crypto.hpp"
#include "scrub/secret_forms.hpp"

namespace agentvault::scrub {
namespace {

__extension__ using Wide = unsigned __int128;

std::uint64_t eight_bytes(const std::uint8_t* at) {
  std::uint64_t value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

}  // namespace

Needles::Needles() {
  const Bytes random = random_bytes(2 * sizeof(std::uint64_t));
  first_key_ = eight_bytes(random.data());
  second_key_ = eight_bytes(random.data() + sizeof(std::uint64_t));
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
  const std::uint64_t beginning = hash(piece.data());
  filter_[beginning % kFilterBits / 64] |= std::uint64_t{1} << (beginning % 64);
  auto& needles = by_beginning_[beginning];
  needles.push_back({owner, SecretBytes::copy_of(piece)});
  needles.back().bytes.hide();
}

/// Keyed, by one multiplication to 128 bits whose halves are folded (Wang Yi's wyhash): what an agent can choose tells
/// it nothing about which windows of a text look like the beginning of a needle.
std::uint64_t Needles::hash(const std::uint8_t* window) const {
  static_assert(kShortest == 2 * sizeof(std::uint64_t));
  const auto product =
      static_cast<Wide>(eight_bytes(window) ^ first_key_) * (eight_bytes(window + sizeof(std::uint64_t)) ^ second_key_);
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

/// Every window of kShortest bytes, against a filter of the needles' beginnings. Only whoever sends the first 16 bytes
/// of a needle makes the search do more, and they cannot be found one by one.
std::vector<Needles::Hit> Needles::find(std::string_view text) const {
  std::vector<Hit> hits;
  const ByteView bytes = as_bytes(text);
  for (std::size_t offset = 0; offset + kShortest <= bytes.size(); ++offset) {
    const std::uint64_t value = hash(bytes.data() + offset);
    if (may_begin(value)) [[unlikely]]
      note_hits(bytes, offset, value, hits);
  }
  return hits;
}

void Needles::note_hits(ByteView text, std::size_t offset, std::uint64_t beginning, std::vector<Hit>& hits) const {
  const auto found = by_beginning_.find(beginning);
  if (found == by_beginning_.end()) return;
  for (const auto& needle : found->second) {
    const std::size_t size = needle.bytes.size();
    if (size <= text.size() - offset && constant_time_equal(needle.bytes.reveal(), text.subspan(offset, size))) {
      hits.push_back({needle.owner, offset, size});
    }
  }
}

}  // namespace agentvault::scrub
