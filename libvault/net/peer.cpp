#include "net/peer.hpp"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cstring>

#include "base/file.hpp"

namespace agentvault::net {
namespace {

struct Question {
  nlmsghdr header;
  inet_diag_req_v2 body;
};

/// The peer's socket is the one whose source is our destination.
std::optional<Question> question_about(int socket) {
  sockaddr_in peer{}, own{};
  socklen_t peer_size = sizeof peer, own_size = sizeof own;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &peer_size) != 0 ||
      ::getsockname(socket, reinterpret_cast<sockaddr*>(&own), &own_size) != 0 || peer.sin_family != AF_INET) {
    return std::nullopt;
  }
  Question question{};
  question.header.nlmsg_len = sizeof question;
  question.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  question.header.nlmsg_flags = NLM_F_REQUEST;
  question.body.sdiag_family = AF_INET;
  question.body.sdiag_protocol = IPPROTO_TCP;
  question.body.idiag_states = ~0U;
  question.body.id.idiag_sport = peer.sin_port;
  question.body.id.idiag_dport = own.sin_port;
  question.body.id.idiag_src[0] = peer.sin_addr.s_addr;
  question.body.id.idiag_dst[0] = own.sin_addr.s_addr;
  question.body.id.idiag_cookie[0] = question.body.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  return question;
}

}  // namespace

std::optional<PeerOwner> owner_of_peer(int socket) {
  const auto question = question_about(socket);
  const UniqueFd kernel(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!question || !kernel || ::send(kernel.get(), &*question, sizeof *question, 0) != sizeof *question) {
    return std::nullopt;
  }
  // The answer is there when send() returns; a kernel that gives none must not hold up the loop.
  alignas(nlmsghdr) char answer[4096];
  const ssize_t got = ::recv(kernel.get(), answer, sizeof answer, MSG_DONTWAIT);
  if (got < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(inet_diag_msg)))) return std::nullopt;
  nlmsghdr header;
  inet_diag_msg message;
  std::memcpy(&header, answer, sizeof header);
  if (header.nlmsg_type != SOCK_DIAG_BY_FAMILY) return std::nullopt;
  std::memcpy(&message, answer + NLMSG_HDRLEN, sizeof message);
  return PeerOwner{message.idiag_inode != 0, message.idiag_uid};
}

}  // namespace agentvault::net
