#include "sandbox/notification.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <limits>
#include <string_view>

#include "base/text.hpp"

namespace agentvault::sandbox {
namespace {

constexpr std::string_view kProcess = "Tgid:";
constexpr std::string_view kUmask = "Umask:";
constexpr std::string_view kFilters = "Seccomp_filters:";
constexpr std::size_t kPage = 4096;  // memory that can be read ends at the end of one; never larger steps

/// What these mean depends on who asks. The first part of what follows is an entry of /proc/PID.
constexpr std::pair<std::string_view, std::string_view> kOwnNames[]{{"/proc/self/", ""},     {"/proc/thread-self/", ""},
                                                                    {"/dev/fd/", "fd/"},     {"/dev/stdin", "fd/0"},
                                                                    {"/dev/stdout", "fd/1"}, {"/dev/stderr", "fd/2"}};

/// By a path that no link leads into /proc/PID of this process.
UniqueFd hold(int folder, const std::string& path, bool follow) {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW);
  how.resolve = RESOLVE_NO_MAGICLINKS;
  return UniqueFd(static_cast<int>(::syscall(SYS_openat2, folder, path.c_str(), &how, sizeof how)));
}

std::optional<mode_t> parse_octal(std::string_view digits) {
  mode_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, 8);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return number;
}

}  // namespace

ProcessStatus status_of(pid_t thread) {
  ProcessStatus status;
  char text[kPage];  // which holds it all but for a long list of processors, behind what is read here
  const UniqueFd file(::open(("/proc/" + std::to_string(thread) + "/status").c_str(), O_RDONLY | O_CLOEXEC));
  const ssize_t size = file ? ::read(file.get(), text, sizeof text) : 0;
  if (size <= 0) return status;
  for (const auto line : split(std::string_view(text, static_cast<std::size_t>(size)), '\n')) {
    const auto value = [&](std::string_view key) { return trim(line.substr(key.size())); };
    if (line.starts_with(kUmask)) status.umask = parse_octal(value(kUmask));
    if (line.starts_with(kProcess)) status.process = parse_unsigned(value(kProcess));
    if (line.starts_with(kFilters)) status.filters = parse_unsigned(value(kFilters));
  }
  return status;
}

std::optional<Notification> Notification::receive(int listener) {
  seccomp_notif received{};
  if (::ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &received) != 0) return std::nullopt;
  Notification out;
  out.listener_ = listener;
  out.id_ = received.id;
  out.thread_ = static_cast<pid_t>(received.pid);
  out.call_ = received.data.nr;
  std::copy(std::begin(received.data.args), std::end(received.data.args), out.arguments_);
  return out;
}

bool Notification::copy(std::uint64_t address, void* to, std::size_t size) const {
  iovec here{to, size};
  iovec there{reinterpret_cast<void*>(address), size};
  return ::process_vm_readv(thread_, &here, 1, &there, 1, 0) == static_cast<ssize_t>(size);
}

std::optional<std::string> Notification::text(std::uint64_t address, std::size_t most) const {
  std::string out;
  while (out.size() <= most) {
    char part[kPage];
    const std::size_t size = kPage - (address + out.size()) % kPage;
    if (!copy(address + out.size(), part, size)) return errno = EFAULT, std::nullopt;
    const auto* end = static_cast<const char*>(std::memchr(part, 0, size));
    out.append(part, end != nullptr ? static_cast<std::size_t>(end - part) : size);
    if (end != nullptr && out.size() <= most) return out;
    if (end != nullptr) break;
  }
  errno = ENAMETOOLONG;
  return std::nullopt;
}

std::string Notification::in_proc(const std::string& name) const {
  return "/proc/" + std::to_string(thread_) + "/" + name;
}

UniqueFd Notification::file(int descriptor) const {
  if (descriptor < 0) return errno = EBADF, UniqueFd();
  UniqueFd held(::open(in_proc("fd/" + std::to_string(descriptor)).c_str(), O_PATH | O_CLOEXEC));
  if (!held && errno == ENOENT) errno = EBADF;
  return held;
}

UniqueFd Notification::folder(int descriptor) const {
  if (descriptor != AT_FDCWD) return file(descriptor);
  return UniqueFd(::open(in_proc("cwd").c_str(), O_PATH | O_CLOEXEC));
}

UniqueFd Notification::file(int from, const std::string& path, LastLink last) const {
  const bool follow = last == LastLink::follow;
  if (path.empty()) return folder(from);
  if (path.front() != '/') {
    const UniqueFd base = folder(from);
    return base ? hold(base.get(), path, follow) : UniqueFd();
  }
  for (const auto& [own, instead] : kOwnNames) {
    if (!path.starts_with(own)) continue;
    const std::string entry = std::string(instead) + path.substr(own.size());
    // "fd/3", "cwd"; and what is below.
    const auto end = entry.find('/', entry.starts_with("fd/") ? 3 : 0);
    const int flags = O_PATH | O_CLOEXEC | (follow || end != std::string::npos ? 0 : O_NOFOLLOW);
    UniqueFd base(::open(in_proc(entry.substr(0, end)).c_str(), flags));
    if (!base || end == std::string::npos || end + 1 == entry.size()) return base;
    return hold(base.get(), entry.substr(end + 1), follow);
  }
  return hold(AT_FDCWD, path, follow);
}

UniqueFd Notification::take(int descriptor, const ProcessStatus& status) const {
  constexpr unsigned of_a_thread = O_EXCL;  // PIDFD_THREAD (Linux 6.9): the process' first thread may have ended
  const UniqueFd of_thread(static_cast<int>(::syscall(SYS_pidfd_open, thread_, of_a_thread)));
  if (of_thread) return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_getfd, of_thread.get(), descriptor, 0)));
  // A thread's descriptors are its process' own.
  const auto& number = status.process;
  const bool known = number && *number <= std::numeric_limits<pid_t>::max();
  const pid_t process = known ? static_cast<pid_t>(*number) : thread_;
  const UniqueFd handle(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
  if (!handle) return UniqueFd();
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_getfd, handle.get(), descriptor, 0)));
}

bool Notification::still_waits() const {
  return ::ioctl(listener_, SECCOMP_IOCTL_NOTIF_ID_VALID, &id_) == 0;
}

void Notification::leave_to_kernel() const {
  seccomp_notif_resp response{};
  response.id = id_;
  response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
  ::ioctl(listener_, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

bool Notification::hand_over(UniqueFd file, bool close_on_exec) const {
  seccomp_notif_addfd handed{};
  handed.id = id_;
  handed.srcfd = static_cast<std::uint32_t>(file.get());
  handed.newfd_flags = close_on_exec ? O_CLOEXEC : 0;
  const int number = ::ioctl(listener_, SECCOMP_IOCTL_NOTIF_ADDFD, &handed);
  if (number < 0) return answer(errno), false;
  file.reset();
  seccomp_notif_resp response{};
  response.id = id_;
  response.val = number;
  ::ioctl(listener_, SECCOMP_IOCTL_NOTIF_SEND, &response);
  return true;
}

void Notification::answer(int error) const {
  seccomp_notif_resp response{};
  response.id = id_;
  response.error = -error;
  ::ioctl(listener_, SECCOMP_IOCTL_NOTIF_SEND, &response);  // fails for an agent that is gone
}

}  // namespace agentvault::sandbox
