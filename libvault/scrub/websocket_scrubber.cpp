#include "scrub/websocket_scrubber.hpp"

#include <algorithm>

namespace agentvault::scrub {

WebSocketScrubber::WebSocketScrubber(Scrubber& scrubber)
    : scrubber_(scrubber),
      reader_({[this](ByteView head) { insert(std::string(as_text(head))); },
               [this](ByteView payload) {
                 payload_in_ += payload.size();
                 std::string clean;
                 scrubber_.feed(payload, clean);
                 release(clean);
               },
               [this] {
                 std::string clean;
                 scrubber_.finish(clean);
                 release(clean);
               },
               [this](ByteView head, ByteView payload) {
                 std::string text(as_text(payload));
                 scrubber_.whole(text);
                 insert(std::string(as_text(head)) + text);
               }}) {}

bool WebSocketScrubber::feed(ByteView bytes, std::string& out) {
  out_ = &out;
  return reader_.feed(bytes) && inserted_ <= kMostInserted;
}

void WebSocketScrubber::insert(std::string text) {
  inserted_ += sizeof(Insert) + text.size();
  inserts_.push_back({payload_in_, std::move(text)});
  release("");
}

/// Payload in its order, with what stands between.
void WebSocketScrubber::release(const std::string& clean) {
  std::size_t used = 0;
  for (;;) {
    while (!inserts_.empty() && inserts_.front().offset == payload_out_) {
      *out_ += inserts_.front().text;
      inserted_ -= sizeof(Insert) + inserts_.front().text.size();
      inserts_.pop_front();
    }
    std::uint64_t size = clean.size() - used;
    if (!inserts_.empty()) size = std::min(size, inserts_.front().offset - payload_out_);
    if (size == 0) return;
    out_->append(clean, used, static_cast<std::size_t>(size));
    used += static_cast<std::size_t>(size);
    payload_out_ += size;
  }
}

}  // namespace agentvault::scrub
