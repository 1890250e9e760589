#include "sandbox/namespaces.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <fstream>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "base/file.hpp"

namespace agentvault::sandbox {
namespace {

constexpr unsigned long kSpaces =
    CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS;

void write_setting(const char* path, const std::string& text) {
  const UniqueFd file(::open(path, O_WRONLY | O_CLOEXEC));
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    throw_errno(std::string("write ") + path);
  }
}

}  // namespace

pid_t fork_into_namespaces() {
#if defined(__s390__)
  const long pid = ::syscall(SYS_clone, nullptr, kSpaces | SIGCHLD, nullptr, nullptr, nullptr);
#else
  const long pid = ::syscall(SYS_clone, kSpaces | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
#endif
  if (pid < 0) throw_errno("make namespaces");
  return static_cast<pid_t>(pid);
}

void map_own_user(uid_t user, gid_t group) {
  const auto one_to_one = [](unsigned id) { return std::to_string(id) + " " + std::to_string(id) + " 1\n"; };
  // The files of an undumpable process are root's.
  if (::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0) throw_errno("open the own settings");
  write_setting("/proc/self/setgroups", "deny");
  write_setting("/proc/self/uid_map", one_to_one(user));
  write_setting("/proc/self/gid_map", one_to_one(group));
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) throw_errno("close the own settings");
}

void leave_a_share_to_others() {
  // user_namespaces(7), namespaces(7): limits of one user namespace, beside those of the whole system.
  constexpr std::pair<const char*, const char*> limits[]{
      {"/proc/sys/fs/inotify/max_user_instances", "/proc/sys/user/max_inotify_instances"},
      {"/proc/sys/fs/inotify/max_user_watches", "/proc/sys/user/max_inotify_watches"}};
  for (const auto& [of_all, own] : limits) {
    std::uint64_t most = 0;
    if (!(std::ifstream(of_all) >> most)) continue;
    std::ofstream(own) << most / 2 << "\n";
  }
}

}  // namespace agentvault::sandbox
