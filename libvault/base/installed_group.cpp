#include "base/installed_group.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "base/error.hpp"

namespace agentvault {
namespace {

constexpr int kLeastDescriptor = 20;

bool used = false;
bool given_up = false;
gid_t installed = 0;
int depth = 0;  // of WithInstalledGroup; one thread
int vault_folder = -1;

void set_effective(gid_t group) {
  if (::setresgid(static_cast<gid_t>(-1), group, static_cast<gid_t>(-1)) != 0) throw_errno("change the group");
}

}  // namespace

void InstalledGroup::begin() {
  gid_t real = 0, effective = 0, saved = 0;
  if (::getresgid(&real, &effective, &saved) != 0 || effective == real) return;
  used = true;
  installed = effective;
  set_effective(real);
  for (const char* name : {"TSS2_LOG", "TSS2_LOGFILE", "SQLITE_TMPDIR", "OPENSSL_CONF", "OPENSSL_MODULES"})
    ::unsetenv(name);
}

bool InstalledGroup::in_use() {
  return used;
}

void InstalledGroup::give_up() {
  if (!used || given_up) return;
  const gid_t real = ::getgid();
  if (::setresgid(real, real, real) != 0) throw_errno("give up the group");
  given_up = true;
}

void InstalledGroup::let_go_of_vault() {
  if (vault_folder >= 0) ::close(vault_folder);
  vault_folder = -1;
}

std::filesystem::path InstalledGroup::hold_vault(const std::filesystem::path& folder) {
  const auto own = folder / std::to_string(::getuid());
  if (vault_folder < 0) {
    const WithInstalledGroup raised;
    const int opened = ::open(own.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (opened >= 0) {
      // Away from the low numbers, which processes give their channels.
      vault_folder = ::fcntl(opened, F_DUPFD_CLOEXEC, kLeastDescriptor);
      ::close(opened);
    }
  }
  return vault_folder < 0 ? own : std::filesystem::path("/proc/self/fd") / std::to_string(vault_folder);
}

int InstalledGroup::held() {
  return vault_folder;
}

WithInstalledGroup::WithInstalledGroup() {
  if (!used || given_up) return;
  raised_ = true;
  if (depth++ > 0) return;
  set_effective(installed);
}

WithInstalledGroup::~WithInstalledGroup() {
  if (!raised_ || --depth > 0) return;
  // Going on with more rights than meant is no way out.
  if (::setresgid(static_cast<gid_t>(-1), ::getgid(), static_cast<gid_t>(-1)) != 0) std::abort();
}

}  // namespace agentvault
