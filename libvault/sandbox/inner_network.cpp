#include "sandbox/inner_network.hpp"

#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/error.hpp"
#include "sandbox/redirection.hpp"

namespace agentvault::sandbox {
namespace {

constexpr int kBacklog = 256;
constexpr std::uint16_t kNames = 53;
constexpr std::uint16_t kWebPorts[]{443, 80};

void raise_loopback() {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  if (!socket || ::ioctl(socket.get(), SIOCGIFFLAGS, &request) != 0) throw_errno("find the loopback device");
  request.ifr_flags |= IFF_UP;
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) throw_errno("set up the loopback device");
}

/// ip route add local 0.0.0.0/0 dev lo
void lead_everything_to_loopback() {
  struct {
    nlmsghdr header;
    rtmsg route;
    rtattr out;
    std::uint32_t device;
  } request{};
  request.header = {sizeof request, RTM_NEWROUTE, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK, 0, 0};
  request.route.rtm_family = AF_INET;
  request.route.rtm_table = RT_TABLE_LOCAL;
  request.route.rtm_protocol = RTPROT_BOOT;
  request.route.rtm_scope = RT_SCOPE_HOST;
  request.route.rtm_type = RTN_LOCAL;
  request.out = {RTA_LENGTH(sizeof request.device), RTA_OIF};
  request.device = ::if_nametoindex("lo");
  struct {
    nlmsghdr header;
    nlmsgerr error;
    char rest[256];
  } answer{};
  const UniqueFd kernel(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!kernel || ::send(kernel.get(), &request, sizeof request, 0) != sizeof request ||
      ::recv(kernel.get(), &answer, sizeof answer, 0) < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(nlmsgerr)))) {
    throw_errno("set up a route");
  }
  if (answer.header.nlmsg_type == NLMSG_ERROR && answer.error.error == 0) return;
  errno = -answer.error.error;
  throw_errno("set up a route");
}

UniqueFd bound(int type, std::uint32_t address, std::uint16_t port) {
  UniqueFd socket(::socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_in place{};
  place.sin_family = AF_INET;
  place.sin_port = htons(port);
  place.sin_addr.s_addr = htonl(address);
  if (!socket || ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&place), sizeof place) != 0 ||
      (type == SOCK_STREAM && ::listen(socket.get(), kBacklog) != 0)) {
    throw_errno("listen inside the session's network, port " + std::to_string(port));
  }
  return socket;
}

std::uint16_t port_of(const UniqueFd& socket) {
  sockaddr_in place{};
  socklen_t size = sizeof place;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&place), &size) != 0) throw_errno("ask for a port");
  return ntohs(place.sin_port);
}

}  // namespace

Doors set_up_inner_network(const std::vector<std::uint16_t>& reached_ports) {
  raise_loopback();
  lead_everything_to_loopback();
  Doors doors;
  // First those that are asked for by number.
  for (const auto port : reached_ports) doors.reached.push_back(bound(SOCK_STREAM, INADDR_LOOPBACK, port));
  doors.names = bound(SOCK_DGRAM, INADDR_LOOPBACK, kNames);
  doors.main = bound(SOCK_STREAM, INADDR_LOOPBACK, 0);
  doors.tokenless = bound(SOCK_STREAM, INADDR_LOOPBACK, 0);
  doors.redirected = bound(SOCK_STREAM, INADDR_LOOPBACK, 0);
  doors.without_token = {port_of(doors.tokenless)};
  if (redirect_connections(port_of(doors.redirected), kNames)) {
    doors.without_token.push_back(port_of(doors.redirected));
    return doors;
  }
  doors.redirected.reset();
  for (const std::uint16_t port : kWebPorts) {
    doors.by_port.push_back(bound(SOCK_STREAM, INADDR_ANY, port));
    doors.without_token.push_back(port);
  }
  return doors;
}

}  // namespace agentvault::sandbox
