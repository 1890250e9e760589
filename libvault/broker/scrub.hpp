// Takes the session's real secrets out of everything that goes to the agent, also across chunk borders. A hit is
// replaced at equal length, so no framing changes.
//
// What is held back at the end of a chunk depends only on public facts: the last up to kLongestNeedle - 1 bytes that a
// secret could consist of. It never depends on the secrets themselves: otherwise an agent could guess bytes of one and
// read the answer off the timing. A line end (every SSE event has one) holds nothing back. The search costs the same
// for every byte, for the same reason.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/secret_bytes.hpp"

namespace agentvault::broker {

/// The byte strings to look for, shared by all responses of a session.
class Needles {
 public:
  static constexpr std::size_t kShortest = 16;  // shorter ones would hit by chance
  static constexpr std::size_t kLongest = 256;

  Needles();

  /// `owner` is reported with a hit. A secret is looked for by its runs of bytes that are no control characters: a PEM
  /// by each of its lines. Runs longer than kLongest are looked for in pieces. False when a part of the secret is too
  /// short to be looked for.
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
    std::uint64_t hash;
    SecretBytes bytes;
  };
  std::uint64_t hash(ByteView bytes) const;

  std::array<std::uint64_t, 256> table_;  // random: the key of the hash
  std::map<std::size_t, std::vector<Needle>> by_size_;
};

class Scrubber {
 public:
  explicit Scrubber(const Needles& needles) : needles_(needles) {}

  /// Appends to `out` what may be passed on.
  void feed(ByteView bytes, std::string& out);
  /// The stream has ended: passes on what was held back.
  void finish(std::string& out);
  /// A header value or another text that is complete in itself.
  void whole(std::string& text);

  /// Owners of the needles found so far, one entry for each hit.
  const std::vector<std::size_t>& hits() const { return hits_; }

 private:
  void release(std::size_t size, std::string& out);

  const Needles& needles_;
  std::string held_;    // as it came: an occurrence may begin inside another one
  std::string masked_;  // what of held_ belongs to an occurrence already, as flags
  std::vector<std::size_t> hits_;
};

/// Whether a secret could hold this byte: everything but control characters.
bool could_be_in_secret(char c);

}  // namespace agentvault::broker
