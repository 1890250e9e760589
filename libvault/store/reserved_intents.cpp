#include "store/reserved_intents.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/installed_group.hpp"
#include "base/text.hpp"

namespace agentvault::store {
namespace {

// Lines "rotate" and "revoke-agent NAME", then zeros.
constexpr std::size_t kSize = 4096;
constexpr int kLockTries = 100, kLockPause = 10;  // milliseconds each
constexpr std::string_view kRotate = "rotate";
constexpr std::string_view kRevokeAgent = "revoke-agent ";

UniqueFd open_file(const std::filesystem::path& file, int flags) {
  const WithInstalledGroup raised;
  UniqueFd fd(::open(file.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
  struct stat info {};
  if (fd && (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode))) {
    fd.reset();
    errno = EINVAL;
  }
  return fd;
}

/// Others hold it for a moment; whoever holds it longer means harm.
void lock(int fd, const std::string& what) {
  for (int tries = 0; ::flock(fd, LOCK_EX | LOCK_NB) != 0; ++tries) {
    if (errno != EWOULDBLOCK && errno != EINTR) throw_errno(what);
    if (tries == kLockTries) throw Error(ErrorKind::failed, "cannot " + what + ": another process holds the file");
    ::poll(nullptr, 0, kLockPause);
  }
}

std::string lines_in(int fd) {
  std::string text(kSize, '\0');
  const ssize_t got = ::pread(fd, text.data(), text.size(), 0);
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return text.substr(0, text.find('\0'));
}

std::string line_of(const Intent& intent) {
  return (intent.kind == Intent::Kind::rotate ? std::string(kRotate) : std::string(kRevokeAgent) + intent.subject) +
         "\n";
}

std::vector<Intent> intents_in(const std::string& lines) {
  std::vector<Intent> found;
  for (const auto line : split(lines, '\n')) {
    if (line == kRotate) found.push_back({Intent::Kind::rotate, ""});
    if (!line.starts_with(kRevokeAgent)) continue;
    found.push_back({Intent::Kind::revoke_agent, std::string(line.substr(kRevokeAgent.size()))});
  }
  return found;
}

void overwrite(int fd, std::string lines, const std::string& what) {
  lines.resize(kSize);
  if (::pwrite(fd, lines.data(), lines.size(), 0) != static_cast<ssize_t>(lines.size()) || ::fdatasync(fd) != 0) {
    throw_errno(what);
  }
}

}  // namespace

void ReservedIntents::reserve() const {
  const UniqueFd fd = open_file(file_, O_RDWR | O_CREAT);
  if (!fd) throw_errno("make " + file_.string());
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0 || info.st_size >= static_cast<off_t>(kSize)) return;
  overwrite(fd.get(), lines_in(fd.get()), "make " + file_.string());
  sync_directory(file_.parent_path());
}

void ReservedIntents::add(const Intent& intent) const {
  const std::string what = "write down what is revoked";
  const UniqueFd fd = open_file(file_, O_RDWR);
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0) throw_errno(what);
  lock(fd.get(), what);
  const std::string lines = lines_in(fd.get()) + line_of(intent);
  if (lines.size() > kSize || info.st_size < static_cast<off_t>(kSize)) {
    throw Error(ErrorKind::failed, "there is no room left to " + what, "free some space, then try again");
  }
  overwrite(fd.get(), lines, what);
}

std::vector<Intent> ReservedIntents::all() const {
  const UniqueFd fd = open_file(file_, O_RDONLY);
  return fd ? intents_in(lines_in(fd.get())) : std::vector<Intent>();
}

void ReservedIntents::remove(const std::vector<Intent>& done) const {
  if (all().empty()) return;
  const std::string what = "tidy up " + file_.string();
  const UniqueFd fd = open_file(file_, O_RDWR);
  if (!fd) throw_errno(what);
  lock(fd.get(), what);
  std::string rest;
  for (const auto& intent : intents_in(lines_in(fd.get()))) {
    if (std::find(done.begin(), done.end(), intent) == done.end()) rest += line_of(intent);
  }
  overwrite(fd.get(), rest, what);
}

}  // namespace agentvault::store
