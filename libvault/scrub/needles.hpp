// The byte strings that must not reach the agent, and the search for them. The search does the same work for every byte
// of a text, whatever the byte and whatever the needles hold: otherwise an agent that chooses the text could read a
// needle off its timing.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/secret_bytes.hpp"

namespace agentvault::scrub {

class Needles {
 public:
  static constexpr std::size_t kShortest = 16;  // shorter ones would hit by chance
  static constexpr std::size_t kLongest = 256;

  Needles();

  /// `owner` is reported with a hit. A secret is looked for in itself and in its encoded forms, by runs of bytes that
  /// are no control characters: a PEM by each of its lines. Runs longer than kLongest are looked for in pieces. False
  /// when a part of the secret is too short to be looked for.
  bool add(std::size_t owner, const SecretBytes& secret);

  struct Hit {
    std::size_t owner;
    std::size_t offset;
    std::size_t size;
  };
  /// Every occurrence, also those that overlap.
  std::vector<Hit> find(std::string_view text) const;
  bool found_in(std::string_view text) const { return !find(text).empty(); }

 private:
  struct Needle {
    std::size_t owner;
    SecretBytes bytes;
  };
  bool add_runs(std::size_t owner, ByteView bytes);
  void add_piece(std::size_t owner, ByteView piece);
  std::uint64_t hash(const std::uint8_t* window) const;
  void note_hits(ByteView text, std::size_t offset, std::uint64_t beginning, std::vector<Hit>& hits) const;
  bool may_begin(std::uint64_t hash) const { return (filter_[hash % kFilterBits / 64] >> (hash % 64) & 1) != 0; }

  static constexpr std::size_t kFilterBits = 1 << 15;
  std::uint64_t first_key_;  // random
  std::uint64_t second_key_;
  std::array<std::uint64_t, kFilterBits / 64> filter_{};
  std::unordered_map<std::uint64_t, std::vector<Needle>> by_beginning_;  // by the hash of their first kShortest bytes
};

/// Whether a secret could hold this byte: everything but control characters.
inline bool could_be_in_secret(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x20 && byte != 0x7f;
}

}  // namespace agentvault::scrub
