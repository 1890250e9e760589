#include "sandbox/connect_supervisor.hpp"

#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <thread>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "sandbox/place.hpp"

namespace agentvault::sandbox {
namespace {

constexpr int kMostWaiting = 256;

union Destination {
  sockaddr_storage any;
  sockaddr_in v4;
  sockaddr_in6 v6;
  sockaddr_un local;
};

struct Attempt {
  bool by_sub_agent = false;
  Destination destination{};
  socklen_t size = 0;
};

/// The path of a socket, as it was copied.
std::string path_of(const Attempt& attempt) {
  const auto& local = attempt.destination.local;
  const std::size_t size = attempt.size - offsetof(sockaddr_un, sun_path);
  return std::string(local.sun_path, ::strnlen(local.sun_path, size));
}

/// Whether the socket that is bound to this file was made in the network namespace of this process (sock_diag(7)).
bool was_bound_here(const struct stat& file) {
  struct {
    nlmsghdr header;
    unix_diag_req body;
  } question{};
  question.header.nlmsg_len = sizeof question;
  question.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  question.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  question.body.sdiag_family = AF_UNIX;
  question.body.udiag_states = ~0U;
  question.body.udiag_show = UDIAG_SHOW_VFS;
  const UniqueFd kernel(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!kernel || ::send(kernel.get(), &question, sizeof question, 0) != sizeof question) return false;
  alignas(nlmsghdr) std::array<char, 32768> answer{};
  for (;;) {
    const auto got = ::recv(kernel.get(), answer.data(), answer.size(), 0);
    if (got <= 0) return false;
    int left = static_cast<int>(got);
    for (auto* header = reinterpret_cast<const nlmsghdr*>(answer.data()); mnl_nlmsg_ok(header, left);
         header = mnl_nlmsg_next(header, &left)) {
      if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY) return false;  // the end, or an error
      const auto* end = static_cast<const char*>(mnl_nlmsg_get_payload_tail(header));
      for (const auto* attribute =
               static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(header, sizeof(unix_diag_msg)));
           mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)));
           attribute = mnl_attr_next(attribute)) {
        if (mnl_attr_get_type(attribute) != UNIX_DIAG_VFS ||
            mnl_attr_get_payload_len(attribute) < sizeof(unix_diag_vfs)) {
          continue;
        }
        unix_diag_vfs vfs{};
        std::memcpy(&vfs, mnl_attr_get_payload(attribute), sizeof vfs);
        // The kernel's own form of a device number: 12 bits and 20.
        const auto device = makedev(vfs.udiag_vfs_dev >> 20, vfs.udiag_vfs_dev & 0xfffff);
        if (vfs.udiag_vfs_ino == static_cast<std::uint32_t>(file.st_ino) && device == file.st_dev) return true;
      }
    }
  }
}

int connect_to(int socket, const Destination& destination, socklen_t size) {
  return ::connect(socket, &reinterpret_cast<const sockaddr&>(destination), size) == 0 ? 0 : errno;
}

int connect_to_file(int socket, const UniqueFd& file, const ConnectPolicy& policy) {
  struct stat info {};
  if (!file || ::fstat(file.get(), &info) != 0) return ENOENT;
  if (!S_ISSOCK(info.st_mode)) return ECONNREFUSED;
  if (!contains(policy.shared_sockets, info) && !was_bound_here(info)) return EACCES;
  Destination place{};
  place.local.sun_family = AF_UNIX;
  const std::string path = name_of_descriptor(file.get());
  std::copy(path.begin(), path.end(), place.local.sun_path);
  return connect_to(socket, place, sizeof place.local);
}

/// The port, if it is one of 127.0.0.1; 0 for every other destination. Java writes the address as an IPv6 one.
std::uint16_t loopback_port(const Attempt& attempt) {
  const auto& place = attempt.destination;
  if (place.any.ss_family == AF_INET && attempt.size >= sizeof place.v4) {
    return place.v4.sin_addr.s_addr == htonl(INADDR_LOOPBACK) ? ntohs(place.v4.sin_port) : 0;
  }
  if (place.any.ss_family != AF_INET6 || attempt.size < sizeof place.v6) return 0;
  constexpr std::array<std::uint8_t, 16> mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1};
  return std::memcmp(&place.v6.sin6_addr, mapped.data(), mapped.size()) == 0 ? ntohs(place.v6.sin6_port) : 0;
}

bool is_bound_to_loopback(int socket) {
  Attempt own;
  own.size = sizeof own.destination;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&own.destination.any), &own.size) != 0) return false;
  const auto& place = own.destination;
  return loopback_port(own) != 0 ||
         (place.any.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&place.v6.sin6_addr) && place.v6.sin6_port != 0);
}

/// A local port, chosen before the connection is made. 0 when there is none.
std::uint16_t bind_locally(int socket, const Attempt& attempt) {
  const auto port = [&] {
    Destination own{};
    socklen_t size = sizeof own;
    if (::getsockname(socket, reinterpret_cast<sockaddr*>(&own.any), &size) != 0) return std::uint16_t{0};
    return ntohs(own.any.ss_family == AF_INET6 ? own.v6.sin6_port : own.v4.sin_port);
  };
  if (const auto bound = port(); bound != 0) return is_bound_to_loopback(socket) ? bound : std::uint16_t{0};
  Destination own = attempt.destination;
  (own.any.ss_family == AF_INET6 ? own.v6.sin6_port : own.v4.sin_port) = 0;
  if (::bind(socket, reinterpret_cast<const sockaddr*>(&own.any), attempt.size) != 0) return 0;
  return port();
}

bool has(const std::vector<std::uint16_t>& ports, std::uint16_t port) {
  return std::find(ports.begin(), ports.end(), port) != ports.end();
}

/// To a server inside, or to the broker with a token.
bool is_open_to_sub_agents(const Attempt& attempt, const ConnectPolicy& policy) {
  const auto& place = attempt.destination;
  if (place.any.ss_family == AF_INET6 && attempt.size >= sizeof place.v6 && IN6_IS_ADDR_LOOPBACK(&place.v6.sin6_addr)) {
    return !has(policy.without_token, ntohs(place.v6.sin6_port));
  }
  const auto port = loopback_port(attempt);
  return port != 0 && !has(policy.without_token, port);
}

int connect_to_loopback(int socket, const Attempt& attempt, const ConnectPolicy& policy) {
  const auto port = loopback_port(attempt);
  if (has(policy.other_ports, port)) return connect_to(socket, attempt.destination, attempt.size);
  if (!has(policy.announced_ports, port)) return EACCES;
  // The broker knows it when it sees the connection.
  const auto own = bind_locally(socket, attempt);
  const Bytes announced = ByteWriter().u16(own).bytes();
  if (own == 0 || ::write(policy.announcements, announced.data(), announced.size()) < 0) return EACCES;
  return connect_to(socket, attempt.destination, attempt.size);
}

int make_connection(int socket, const Attempt& attempt, const UniqueFd& file, const ConnectPolicy& policy) {
  const auto family = attempt.destination.any.ss_family;
  const bool has_path = family == AF_UNIX && attempt.size > offsetof(sockaddr_un, sun_path) &&
                        attempt.destination.local.sun_path[0] != '\0';
  if (has_path) return policy.local_sockets ? connect_to_file(socket, file, policy) : EACCES;
  const bool leads_somewhere = family == AF_INET || family == AF_INET6;
  if (attempt.by_sub_agent && leads_somewhere && !is_open_to_sub_agents(attempt, policy)) return EACCES;
  // Nor is one undone: what is bound would be something else afterwards.
  if (policy.only_loopback) return connect_to_loopback(socket, attempt, policy);
  return connect_to(socket, attempt.destination, attempt.size);
}

/// False: the agent is gone, or its memory cannot be read.
bool copy_destination(const Notification& asked, Attempt& attempt) {
  const auto size = static_cast<std::uint32_t>(asked.argument(2));
  if (size < sizeof(sa_family_t) || size > sizeof attempt.destination) return false;
  attempt.size = size;
  return asked.copy(asked.argument(1), &attempt.destination, size);
}

/// A server of the agent's: only for this machine, and no address is chosen for it.
int open_server(int socket, int backlog) {
  if (!is_bound_to_loopback(socket)) return EACCES;
  if (::listen(socket, backlog) != 0) return errno;
  if (is_bound_to_loopback(socket)) return 0;
  ::shutdown(socket, SHUT_RDWR);  // it was changed meanwhile
  return EACCES;
}

}  // namespace

unsigned count_filters(pid_t process) {
  const auto count = status_of(process).filters;
  if (!count) throw Error(ErrorKind::failed, "this kernel does not tell how many filters a process has");
  return static_cast<unsigned>(*count);
}

const std::vector<int>& ConnectSupervisor::calls() {
  static const std::vector<int> numbers{SYS_connect, SYS_listen};
  return numbers;
}

void ConnectSupervisor::answer(const Notification& asked) {
  Attempt attempt;
  const auto status = status_of(asked.thread());
  attempt.by_sub_agent = status.filters.value_or(policy_.filters_of_agent + 1) > policy_.filters_of_agent;
  const bool listens = asked.call() == SYS_listen;
  if (!listens && !copy_destination(asked, attempt)) return asked.answer(EFAULT);
  auto socket = std::make_shared<UniqueFd>(asked.take(asked.descriptor(0), status));
  const int error = *socket ? 0 : errno == EBADF ? EBADF : EACCES;
  const bool has_path =
      !listens && attempt.destination.any.ss_family == AF_UNIX && attempt.size > offsetof(sockaddr_un, sun_path);
  auto file = std::make_shared<UniqueFd>(
      has_path ? asked.file(AT_FDCWD, path_of(attempt), Notification::LastLink::follow) : UniqueFd());
  if (!asked.still_waits()) return;
  if (error != 0) return asked.answer(error);
  if (listens) return asked.answer(open_server(socket->get(), asked.descriptor(1)));
  // It may wait for its peer, even where it was not to: an agent can change that meanwhile.
  ++waiting_;
  try {
    std::thread([this, asked, attempt, socket, file] {
      asked.answer(make_connection(socket->get(), attempt, *file, policy_));
      --waiting_;
    }).detach();
  } catch (const std::exception&) {
    --waiting_;
    asked.answer(EAGAIN);
  }
}

bool ConnectSupervisor::busy() const {
  return waiting_ >= kMostWaiting;
}

}  // namespace agentvault::sandbox
