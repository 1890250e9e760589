#include "keys/vault_paths.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/log.hpp"

namespace agentvault::keys {

namespace {

[[noreturn]] void no_vault(const std::filesystem::path& directory) {
  throw Error(ErrorKind::not_found, "there is no vault at " + directory.string(),
              "make one with \"agentvault init\", or name another with --vault");
}

}  // namespace

std::filesystem::path VaultPaths::shown() const {
  std::error_code error;
  if (directory.parent_path() != "/proc/self/fd") return directory;
  const auto name = std::filesystem::read_symlink(directory, error);
  return error ? directory : name;
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
    if (::chmod(directory.c_str(), 0700) != 0) throw_errno("close " + shown().string());
  }
}

void VaultPaths::check() const {
  check_directory();
  std::error_code error;
  if (!std::filesystem::exists(database(), error)) no_vault(shown());
}

}  // namespace agentvault::keys
