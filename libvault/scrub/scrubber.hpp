// Takes the session's real secrets out of everything that goes to the agent, also across chunk borders. A hit is
// replaced at equal length, so no framing changes.
//
// What is held back at the end of a chunk depends only on public facts: the last up to Needles::kLongest - 1 bytes that
// a secret could consist of. It never depends on the secrets themselves: otherwise an agent could guess bytes of one
// and read the answer off the timing. A line end (every SSE event has one) holds nothing back.
#pragma once

#include <string>
#include <vector>

#include "scrub/needles.hpp"

namespace agentvault::scrub {

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
  struct Range {
    std::size_t begin;
    std::size_t end;
  };
  std::string held_;           // as it came: an occurrence may begin inside another one
  std::vector<Range> masked_;  // what of held_ belongs to occurrences
  std::vector<std::size_t> hits_;
};

}  // namespace agentvault::scrub
