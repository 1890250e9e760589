#include "sandbox/standard_streams.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "base/error.hpp"

namespace agentvault::sandbox {
namespace {

/// The end of a connected local stream, as programs give it to their children in place of a pipe.
bool is_connected_pair(int fd) {
  int domain = 0, type = 0;
  socklen_t size = sizeof domain;
  sockaddr_storage peer{};
  socklen_t peer_size = sizeof peer;
  return ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
         ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && domain == AF_UNIX && type == SOCK_STREAM &&
         ::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &peer_size) == 0;
}

}  // namespace

void check_standard_streams() {
  for (int fd = 0; fd <= 2; ++fd) {
    struct stat info {};
    if (::fstat(fd, &info) != 0) continue;
    if (S_ISDIR(info.st_mode)) {
      throw Error(ErrorKind::usage, "a standard stream is a folder", "redirect it from a file, or from /dev/null");
    }
    if (S_ISSOCK(info.st_mode) && !is_connected_pair(fd)) {
      throw Error(ErrorKind::usage, "a standard stream is a socket", "redirect it through a pipe: | cat");
    }
  }
}

std::vector<FileIdentity> streams_outside(const FileView& view) {
  std::vector<FileIdentity> out;
  for (int fd = 0; fd <= 2; ++fd) {
    struct stat info {};
    if (::fstat(fd, &info) != 0) continue;
    // Another's device, as /dev/null is to an ordinary user.
    if (S_ISCHR(info.st_mode) && info.st_uid != ::geteuid()) continue;
    std::error_code unknown;
    const auto name = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), unknown);
    if (unknown || !name.is_absolute()) continue;  // a pipe
    const auto holds_it = [&](const auto& folder) { return is_within(name, folder); };
    if (std::none_of(view.writable.begin(), view.writable.end(), holds_it)) out.push_back(FileIdentity::of(info));
  }
  return out;
}

void close_all_but_standard_streams(std::vector<int> kept) {
  std::sort(kept.begin(), kept.end());
  unsigned from = 3;
  for (const int fd : kept) {
    if (fd < static_cast<int>(from)) continue;
    const auto number = static_cast<unsigned>(fd);
    if (number > from) ::syscall(SYS_close_range, from, number - 1, 0U);
    from = number + 1;
  }
  ::syscall(SYS_close_range, from, ~0U, 0U);
}

}  // namespace agentvault::sandbox
