#include "sandbox/broker_confinement.hpp"

#include <linux/capability.h>
#include <sys/prctl.h>

#include "base/error.hpp"
#include "sandbox/capabilities.hpp"
#include "sandbox/landlock.hpp"
#include "sandbox/syscall_filter.hpp"

namespace agentvault::sandbox {
namespace {

// Names of hosts, roots of trust, time zones.
constexpr const char* kReads[]{"/etc/resolv.conf",
                               "/etc/hosts",
                               "/etc/host.conf",
                               "/etc/nsswitch.conf",
                               "/etc/services",
                               "/etc/gai.conf",
                               "/etc/localtime",
                               "/etc/ssl",
                               "/etc/pki",
                               "/etc/ca-certificates",
                               "/usr/lib/ssl",
                               "/usr/share/ca-certificates",
                               "/usr/share/zoneinfo",
                               "/usr/local/share/ca-certificates",
                               "/run/systemd/resolve",
                               "/run/NetworkManager",
                               "/run/resolvconf",
                               "/mnt/wsl/resolv.conf",
                               "/var/lib/ca-certificates",
                               "/dev/null"};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
// Builds that look for faults of our own: their runtime looks at all memory of the process when it ends.
constexpr std::initializer_list<int> kCapabilities{CAP_KILL, CAP_SYS_PTRACE};
constexpr const char* kReadsBesides = "/proc";
#else
constexpr std::initializer_list<int> kCapabilities{CAP_KILL};  // the child may have become another user's
constexpr const char* kReadsBesides = "";
#endif

}  // namespace

void confine_broker(const BrokerNeeds& needs) {
  if (landlock_abi() > 0) {
    Landlock rules(access::kAll, Landlock::Scope::sockets);
    for (const char* path : kReads) rules.allow(path, access::kReadFile | access::kReadFolder);
    rules.allow(kReadsBesides, access::kReadFile | access::kReadFolder);
    for (const auto& path : needs.reads) rules.allow(path, access::kReadFile | access::kReadFolder);
    for (const auto& path : needs.removes_files_in) {
      rules.allow(path, access::kRemoveFile | access::kReadFolder);
    }
    for (const auto& path : needs.removes_folders_in) rules.allow(path, access::kRemoveFolder);
    rules.enforce();
  }
  drop_capabilities(kCapabilities);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) throw_errno("give up new privileges");
  filter_broker();
}

}  // namespace agentvault::sandbox
