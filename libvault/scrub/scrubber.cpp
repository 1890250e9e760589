#include "scrub/scrubber.hpp"

#include <algorithm>
#include <cstring>

namespace agentvault::scrub {
namespace {

constexpr char kMask = '*';

}  // namespace

void Scrubber::whole(std::string& text) {
  for (const auto& hit : needles_.find(text)) {
    hits_.push_back(hit.owner);
    std::memset(text.data() + hit.offset, kMask, hit.size);
  }
}

void Scrubber::feed(ByteView bytes, std::string& out) {
  const std::size_t known = held_.size();
  held_.append(as_text(bytes));
  for (const auto& hit : needles_.find(held_)) {
    if (hit.offset + hit.size <= known) continue;  // found with an earlier chunk
    hits_.push_back(hit.owner);
    masked_.push_back({hit.offset, hit.offset + hit.size});
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
  held_.erase(0, size);
  for (auto& range : masked_) {
    const std::size_t from = std::min(range.begin, size), to = std::min(range.end, size);
    std::memset(out.data() + begin + from, kMask, to - from);
    range = {range.begin - from, range.end - to};
  }
  std::erase_if(masked_, [](const Range& range) { return range.end == 0; });
}

}  // namespace agentvault::scrub
