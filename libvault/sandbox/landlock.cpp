#include "sandbox/landlock.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.hpp"
#include "sandbox/place.hpp"

namespace agentvault::sandbox {
namespace {

// The kernel's user interface (include/uapi/linux/landlock.h), by hand: the headers of Debian 12 end at ABI 2.
struct RulesetAttribute {
  std::uint64_t handled_access_fs;
  std::uint64_t handled_access_net;
  std::uint64_t scoped;
};
struct [[gnu::packed]] PathBeneath {
  std::uint64_t allowed_access;
  std::int32_t parent_fd;
};
constexpr unsigned kCreateVersion = 1;
constexpr int kRulePathBeneath = 1;
constexpr std::uint64_t kScopeAbstractSockets = 1;
constexpr std::uint64_t kScopeSignals = 2;

constexpr std::uint64_t kOfFirstAbi = (1 << 13) - 1;
constexpr std::uint64_t kOnFiles =
    access::kExecute | access::kWriteFile | access::kReadFile | access::kTruncate | access::kIoctlDevice;

std::uint64_t known(int abi) {
  std::uint64_t rights = kOfFirstAbi;
  if (abi >= 2) rights |= access::kRefer;
  if (abi >= 3) rights |= access::kTruncate;
  if (abi >= 5) rights |= access::kIoctlDevice;
  return rights;
}

std::uint64_t scopes(Landlock::Scope scope, int abi) {
  if (scope == Landlock::Scope::none || abi < kAbiWithScopes) return 0;
  return kScopeAbstractSockets | (scope == Landlock::Scope::sockets_and_signals ? kScopeSignals : 0);
}

}  // namespace

int landlock_abi() {
  const long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, kCreateVersion);
  return abi > 0 ? static_cast<int>(abi) : 0;
}

Landlock::Landlock(std::uint64_t forbidden, Scope scope) {
  const int abi = landlock_abi();
  if (abi == 0) throw Error(ErrorKind::failed, "this kernel has no Landlock");
  handled_ = known(abi) & forbidden;
  const RulesetAttribute attribute{handled_, 0, scopes(scope, abi)};
  // An older kernel knows a shorter structure, and refuses a longer one only when what it does not know is set.
  rules_.reset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attribute, sizeof attribute, 0)));
  if (!rules_ && errno == ENOMSG) return;  // nothing to handle: an old kernel without scopes
  if (!rules_) throw_errno("set up Landlock");
}

bool Landlock::allow(const std::filesystem::path& path, std::uint64_t rights) {
  return allow_place(UniqueFd(::open(path.c_str(), O_PATH | O_CLOEXEC)), rights);
}

bool Landlock::allow_exactly(const std::filesystem::path& path, std::uint64_t rights) {
  return allow_place(place_at(path), rights);
}

bool Landlock::allow_place(const UniqueFd& place, std::uint64_t rights) {
  struct stat info {};
  if (!place || ::fstat(place.get(), &info) != 0 || S_ISLNK(info.st_mode)) return false;
  rights &= handled_;
  if (!S_ISDIR(info.st_mode)) rights &= kOnFiles;
  if (rights == 0) return true;
  const PathBeneath rule{rights, place.get()};
  // EBADFD: a pipe, a socket, for which there is nothing to allow.
  if (::syscall(SYS_landlock_add_rule, rules_.get(), kRulePathBeneath, &rule, 0) != 0 && errno != EBADFD) {
    throw_errno("add a rule to Landlock");
  }
  return true;
}

void Landlock::enforce() {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) throw_errno("give up new privileges");
  if (rules_ && ::syscall(SYS_landlock_restrict_self, rules_.get(), 0) != 0) throw_errno("enter Landlock");
}

}  // namespace agentvault::sandbox
