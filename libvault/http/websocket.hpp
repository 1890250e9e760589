// WebSocket (RFC 6455), as far as somebody between the two ends must know it: the handshake's proof, and where the
// frames of a server begin and end.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "http/head.hpp"

namespace agentvault::http {

/// What Sec-WebSocket-Accept must say to this Sec-WebSocket-Key (section 4.2.2).
std::string websocket_accept(std::string_view key);

/// Whether a 101 response completes the handshake that was asked for with `key`, without extensions.
bool completes_websocket(const ResponseHead& head, std::string_view key);

/// Takes the frames of a server apart.
class WebSocketReader {
 public:
  struct Events {
    /// The head of a data frame, as it came.
    std::function<void(ByteView head)> frame;
    std::function<void(ByteView payload)> payload;
    /// The last frame of a message is complete.
    std::function<void()> message_ended;
    /// A whole control frame; it may stand between the data frames of a message.
    std::function<void(ByteView head, ByteView payload)> control;
  };
  explicit WebSocketReader(Events events) : events_(std::move(events)) {}

  /// False: no frames of a server without extensions (sections 5.2, 5.5). Then nothing more must be fed.
  bool feed(ByteView bytes);

 private:
  bool begin_frame();
  std::size_t head_size() const;
  void end_frame();

  Events events_;
  Bytes head_;
  Bytes control_payload_;
  std::uint64_t left_ = 0;  // of the payload
  bool in_payload_ = false;
  bool control_ = false;
  bool final_ = false;
  bool in_message_ = false;  // a data frame that was not the last has been seen
};

}  // namespace agentvault::http
