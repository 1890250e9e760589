#include "sandbox/channel.hpp"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.hpp"

namespace agentvault::sandbox {
namespace {

constexpr std::size_t kHeaderSize = 5;  // kind, length of the bytes
constexpr const char* kWhat = "the channel between exec and its child";

/// Takes over what the kernel has installed in this process, whatever else is wrong with the message.
void take_ancillary(msghdr& header, Message& message) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET) continue;
    if (part->cmsg_type == SCM_CREDENTIALS) {
      ucred sender{};
      std::memcpy(&sender, CMSG_DATA(part), sizeof sender);
      message.sender = sender.pid;
    }
    if (part->cmsg_type == SCM_RIGHTS) {
      const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < count; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
        message.descriptors.emplace_back(fd);
      }
    }
  }
}

}  // namespace

std::pair<Channel, Channel> Channel::make() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) throw_errno("make a channel");
  Channel ours{UniqueFd(ends[0])};
  Channel theirs{UniqueFd(ends[1])};
  const int on = 1;
  if (::setsockopt(ours.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0) throw_errno("make a channel");
  return {std::move(ours), std::move(theirs)};
}

void Channel::send(std::uint8_t kind, ByteView bytes, const std::vector<int>& descriptors) const {
  const Bytes head = ByteWriter().u8(kind).u32(static_cast<std::uint32_t>(bytes.size())).bytes();
  iovec place{const_cast<std::uint8_t*>(head.data()), head.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
  msghdr header{};
  header.msg_iov = &place;
  header.msg_iovlen = 1;
  if (descriptors.size() > kMaxDescriptors) throw Error(ErrorKind::failed, "too many descriptors for one message");
  if (!descriptors.empty()) {
    const std::size_t size = descriptors.size() * sizeof(int);
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(size);
    cmsghdr* part = CMSG_FIRSTHDR(&header);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(size);
    std::memcpy(CMSG_DATA(part), descriptors.data(), size);
  }
  ssize_t sent;
  while ((sent = ::sendmsg(socket_.get(), &header, MSG_NOSIGNAL)) < 0 && errno == EINTR) {
  }
  if (sent != static_cast<ssize_t>(head.size())) throw_errno(std::string("write ") + kWhat);
  write_all(socket_.get(), bytes, kWhat);
}

std::optional<Message> Channel::receive() const {
  Message message;
  std::array<std::uint8_t, kHeaderSize> head{};
  iovec place{head.data(), head.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxDescriptors * sizeof(int)) + CMSG_SPACE(sizeof(ucred))> control{};
  msghdr header{};
  header.msg_iov = &place;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  ssize_t got;
  while ((got = ::recvmsg(socket_.get(), &header, MSG_CMSG_CLOEXEC | MSG_WAITALL)) < 0 && errno == EINTR) {
  }
  if (got >= 0) take_ancillary(header, message);
  if (got == 0 || (got < 0 && errno == ECONNRESET)) return std::nullopt;
  if (got < 0) throw_errno(std::string("read ") + kWhat);
  message.kind = head[0];
  const auto size = read_big_endian(ByteView(head).subspan(1));
  // Where a process has no room for descriptors, the message comes without them.
  if (got != static_cast<ssize_t>(kHeaderSize) || size > kMaxBytes) {
    throw Error(ErrorKind::failed, std::string(kWhat) + " carried no message");
  }
  message.bytes.resize(static_cast<std::size_t>(size));
  if (read_up_to(socket_.get(), message.bytes, kWhat) != message.bytes.size()) return std::nullopt;
  return message;
}

}  // namespace agentvault::sandbox
