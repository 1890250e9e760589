// Runs a command on a poorer kernel: the features that are named are answered as by a kernel that does not have them.
// usage: without FEATURE,... COMMAND...
#include <linux/netlink.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <string>

namespace {

void answer(scmp_filter_ctx filter, int error, const char* name) {
  const int call = seccomp_syscall_resolve_name(name);
  if (call == __NR_SCMP_ERROR || seccomp_rule_add(filter, SCMP_ACT_ERRNO(static_cast<unsigned>(error)), call, 0) != 0)
    std::perror(name);
}

bool remove_feature(scmp_filter_ctx filter, const std::string& feature) {
  if (feature == "landlock") {
    for (const char* name : {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"})
      answer(filter, ENOSYS, name);
  } else if (feature == "memfd_secret") {
    answer(filter, ENOSYS, "memfd_secret");
  } else if (feature == "userns") {
    const scmp_arg_cmp space{0, SCMP_CMP_MASKED_EQ, CLONE_NEWUSER, CLONE_NEWUSER};
    seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1, space);
    seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unshare), 1, space);
  } else if (feature == "mount") {
    answer(filter, EPERM, "mount");
  } else if (feature == "nft") {
    const scmp_arg_cmp family{0, SCMP_CMP_EQ, AF_NETLINK, 0}, protocol{2, SCMP_CMP_EQ, NETLINK_NETFILTER, 0};
    seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPROTONOSUPPORT), SCMP_SYS(socket), 2, family, protocol);
  } else if (feature == "overlay") {
    // Nobody but the roots of trust mounts it; the type is a string that no filter sees. Its flags are its own.
    const scmp_arg_cmp flags{3, SCMP_CMP_EQ, 7, 0};  // MS_RDONLY | MS_NOSUID | MS_NODEV
    seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENODEV), SCMP_SYS(mount), 1, flags);
  } else if (feature == "notify") {
    const scmp_arg_cmp flags{1, SCMP_CMP_MASKED_EQ, 8, 8};  // SECCOMP_FILTER_FLAG_NEW_LISTENER
    seccomp_rule_add(filter, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(seccomp), 1, flags);
  } else {
    return false;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
  std::istringstream features(argv[1]);
  for (std::string feature; std::getline(features, feature, ',');) {
    if (!remove_feature(filter, feature)) {
      std::fprintf(stderr, "without: unknown feature %s\n", feature.c_str());
      return 2;
    }
  }
  if (const int error = seccomp_load(filter); error != 0) {
    std::fprintf(stderr, "without: %s\n", std::strerror(-error));
    return 2;
  }
  seccomp_release(filter);
  ::execvp(argv[2], argv + 2);
  std::perror(argv[2]);
  return 127;
}
