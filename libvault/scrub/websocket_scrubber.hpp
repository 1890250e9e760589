// Scrubs what a server sends over a WebSocket: each message is searched as a whole, also across its frames. Sizes stay
// as they are, and so do the frames.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "http/websocket.hpp"
#include "scrub/scrubber.hpp"

namespace agentvault::scrub {

class WebSocketScrubber {
 public:
  explicit WebSocketScrubber(Scrubber& scrubber);
  WebSocketScrubber(const WebSocketScrubber&) = delete;
  WebSocketScrubber& operator=(const WebSocketScrubber&) = delete;

  /// Appends to `out` what may be passed on. False: these are no frames, or far too many that say nothing.
  bool feed(ByteView bytes, std::string& out);

 private:
  void release(const std::string& clean);
  void insert(std::string text);

  /// A frame's head, or a whole control frame, that stands before this byte of the payloads.
  struct Insert {
    std::uint64_t offset;
    std::string text;
  };

  Scrubber& scrubber_;
  http::WebSocketReader reader_;
  std::deque<Insert> inserts_;
  std::size_t inserted_ = 0;  // bytes and entries that wait there
  static constexpr std::size_t kMostInserted = std::size_t{64} << 10;
  std::uint64_t payload_in_ = 0;
  std::uint64_t payload_out_ = 0;
  std::string* out_ = nullptr;  // during feed()
};

}  // namespace agentvault::scrub
