#include "keys/vault_paths.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

namespace agentvault::keys {

namespace {

[[noreturn]] void no_vault(const std::filesystem::path& directory) {
  throw Error(ErrorKind::not_found, "there is no vault at " + directory.string(),
              "make one with \"agentvault init\", or name another with --vault");
}

void set_mode(int folder, const std::string& name, mode_t mode, const std::string& shown) {
  if (::fchmodat(folder, name.c_str(), mode, 0) != 0) throw_errno("change the mode of " + shown);
}

/// Folders are entered, and files read and written, by their owner. Links, and what is somebody else's, stay as they
/// are.
void give_back(int folder, const std::string& name, mode_t for_files, const std::string& shown) {
  struct stat info {};
  if (::fstatat(folder, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0 || info.st_uid != ::geteuid()) return;
  if (S_ISLNK(info.st_mode)) return;
  const mode_t least = S_ISDIR(info.st_mode) ? 0700 : for_files;
  if ((info.st_mode & least) == least) return;
  log::warning("permissions were taken from " + shown + ": giving them back");
  set_mode(folder, name, (info.st_mode & 0700) | least, shown);
}

void give_back_in(const std::filesystem::path& folder, mode_t for_files, const std::filesystem::path& shown) {
  const UniqueFd held(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::error_code error;
  using Entries = std::filesystem::directory_iterator;
  for (Entries at(folder, error); held && !error && at != Entries(); at.increment(error)) {
    const std::string name = at->path().filename();
    give_back(held.get(), name, for_files, (shown / name).string());
  }
}

}  // namespace

std::filesystem::path VaultPaths::shown() const {
  std::error_code error;
  if (directory.parent_path() != "/proc/self/fd") return directory;
  const auto name = std::filesystem::read_symlink(directory, error);
  return error ? directory : name;
}

std::vector<std::string> VaultPaths::counted_agents() const {
  std::vector<std::string> agents;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(budgets(), none)) {
    const auto name = entry.path().filename().string();
    if (valid_name(name)) agents.push_back(name);
  }
  std::sort(agents.begin(), agents.end());
  return agents;
}

void VaultPaths::check_directory() const {
  struct stat info {};
  if (::stat(directory.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) no_vault(shown());
  if (info.st_uid != ::geteuid()) {
    throw Error(ErrorKind::failed, "the vault at " + shown().string() + " belongs to another user",
                "name your own with --vault");
  }
  if ((info.st_mode & 077) != 0) {
    log::warning("others could enter " + shown().string() + ": closing it (mode 0700)");
    set_mode(AT_FDCWD, directory, 0700, shown());
  }
  give_back(AT_FDCWD, directory.string() + "/", 0600, shown());
  give_back_in(directory, 0600, shown());
  give_back_in(sessions(), 0400, shown() / "sessions");
}

void VaultPaths::check() const {
  check_directory();
  std::error_code error;
  if (!std::filesystem::exists(database(), error)) no_vault(shown());
}

}  // namespace agentvault::keys
