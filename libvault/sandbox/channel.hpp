// Messages between exec and the processes that it starts: a kind, bytes, descriptors. One end each, over a socketpair.
// What comes from an agent's side is never read from here: its end is closed before the agent's program begins.
#pragma once

#include <sys/types.h>

#include <optional>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "base/file.hpp"

namespace agentvault::sandbox {

struct Message {
  std::uint8_t kind = 0;
  Bytes bytes;
  std::vector<UniqueFd> descriptors;
  pid_t sender = 0;  // as the receiver's namespace knows it
};

class Channel {
 public:
  Channel() = default;
  explicit Channel(UniqueFd socket) : socket_(std::move(socket)) {}

  /// Both ends. The first is told who sends.
  static std::pair<Channel, Channel> make();

  /// At most kMaxDescriptors descriptors, which stay the sender's. Throws Error(failed).
  void send(std::uint8_t kind, ByteView bytes = {}, const std::vector<int>& descriptors = {}) const;
  /// Nothing when the other side has closed its end. Throws Error(failed) for what is no message.
  std::optional<Message> receive() const;

  int get() const { return socket_.get(); }
  void close() { socket_.reset(); }

  static constexpr std::size_t kMaxDescriptors = 32;
  static constexpr std::size_t kMaxBytes = std::size_t{16} << 20;

 private:
  UniqueFd socket_;
};

}  // namespace agentvault::sandbox
