// To be preloaded: calls that fail, and a clock that runs ahead, while a file of that name lies in $DISTRESS.
#include <dlfcn.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>

namespace {

bool is_on(const char* name, struct stat* info) {
  const char* folder = std::getenv("DISTRESS");
  return folder != nullptr && ::stat((std::string(folder) + "/" + name).c_str(), info) == 0;
}
bool is_on(const char* name) {
  struct stat info {};
  return is_on(name, &info);
}

template <class Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

/// fs.epoll.max_user_watches is reached.
extern "C" int epoll_ctl(int loop, int operation, int fd, epoll_event* event) noexcept {
  static auto* const call = real<int(int, int, int, epoll_event*)>("epoll_ctl");
  if (operation != EPOLL_CTL_ADD || !is_on("no-watches")) return call(loop, operation, fd, event);
  errno = ENOSPC;
  return -1;
}

/// Nothing can be appended to a file.
extern "C" ssize_t write(int fd, const void* bytes, size_t size) {
  static auto* const call = real<ssize_t(int, const void*, size_t)>("write");
  struct stat info {};
  if (!is_on("full") || ::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) return call(fd, bytes, size);
  errno = ENOSPC;
  return -1;
}

/// An error that no manual names.
extern "C" int accept4(int socket, sockaddr* name, socklen_t* size, int flags) {
  static auto* const call = real<int(int, sockaddr*, socklen_t*, int)>("accept4");
  if (!is_on("no-accept")) return call(socket, name, size, flags);
  errno = ENODEV;
  return -1;
}

/// As many seconds later as the file has bytes: the broker may not read it.
extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  static auto* const call = real<int(clockid_t, timespec*)>("clock_gettime");
  const int result = call(clock, time);
  struct stat info {};
  if (clock == CLOCK_BOOTTIME && is_on("later", &info)) time->tv_sec += info.st_size;
  // As many minutes as the file has bytes.
  if (clock == CLOCK_REALTIME && is_on("set-ahead", &info)) time->tv_sec += 60 * info.st_size;
  if (clock == CLOCK_REALTIME && is_on("set-back", &info)) time->tv_sec -= 60 * info.st_size;
  return result;
}
