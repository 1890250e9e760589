#include "sandbox/capabilities.hpp"

#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.hpp"

namespace agentvault::sandbox {

void drop_capabilities(std::initializer_list<int> but_for) {
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  // Ends at the first number that the kernel does not know. Without CAP_SETPCAP this fails, and then execve() gives
  // nothing anyway: no_new_privs, and no root without it.
  for (unsigned long number = 0; ::prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0; ++number) {
  }
  // For a process of root's: its uid gives nothing back at execve().
  ::prctl(PR_SET_SECUREBITS,
          SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct held[_LINUX_CAPABILITY_U32S_3]{}, kept[_LINUX_CAPABILITY_U32S_3]{};
  if (but_for.size() > 0) ::syscall(SYS_capget, &header, held);
  for (const int number : but_for) {
    const auto index = CAP_TO_INDEX(number);
    kept[index].permitted = kept[index].effective |= held[index].permitted & CAP_TO_MASK(number);
  }
  if (::syscall(SYS_capset, &header, kept) != 0) throw_errno("give up capabilities");
}

}  // namespace agentvault::sandbox
