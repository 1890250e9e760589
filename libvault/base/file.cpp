#include "base/file.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.hpp"

namespace agentvault {

void UniqueFd::reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

void write_all(int fd, ByteView bytes, const std::string& what) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      throw_errno("write " + what);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

std::size_t read_up_to(int fd, std::span<std::uint8_t> space, const std::string& what) {
  std::size_t used = 0;
  while (used < space.size()) {
    const ssize_t got = ::read(fd, space.data() + used, space.size() - used);
    if (got < 0) {
      if (errno == EINTR) continue;
      throw_errno("read " + what);
    }
    if (got == 0) break;
    used += static_cast<std::size_t>(got);
  }
  return used;
}

namespace {

std::optional<Bytes> read_opened(const UniqueFd& fd, const std::filesystem::path& path, std::size_t most,
                                 bool must_be_regular) {
  if (!fd) {
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    throw_errno("open " + path.string());
  }
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) throw_errno("look at " + path.string());
  const bool regular = S_ISREG(info.st_mode);
  if (must_be_regular && !regular) {
    throw Error(ErrorKind::integrity, path.string() + " is no regular file", "put a copy back that you trust");
  }
  // A regular file tells its size, so that a large bound costs nothing; it may have grown since.
  const auto told = static_cast<std::size_t>(std::max<off_t>(info.st_size, 0));
  Bytes contents(regular ? std::min(most, told) + 1 : most + 1);
  contents.resize(read_up_to(fd.get(), contents, path.string()));
  if (contents.size() > most || (regular && contents.size() > told)) {
    throw Error(ErrorKind::failed, path.string() + " is larger than " + std::to_string(most) + " bytes",
                "is it the right file?");
  }
  return contents;
}

}  // namespace

std::optional<Bytes> read_file(const std::filesystem::path& path, std::size_t most) {
  return read_opened(UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), path, most, false);
}

std::optional<Bytes> read_own_file(const std::filesystem::path& path, std::size_t most) {
  return read_opened(UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)), path, most, true);
}

void replace_file(const std::filesystem::path& path, ByteView contents, const std::string& suffix) {
  const std::filesystem::path fresh = path.string() + suffix;
  UniqueFd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) throw_errno("write " + path.string(), "does its folder exist, and may you write there?");
  try {
    write_all(fd.get(), contents, path.string());
    if (::fsync(fd.get()) != 0) throw_errno("sync " + path.string());
    if (::rename(fresh.c_str(), path.c_str()) != 0) throw_errno("replace " + path.string());
  } catch (...) {
    ::unlink(fresh.c_str());
    throw;
  }
  sync_directory(path.parent_path());
}

void sync_directory(const std::filesystem::path& path) {
  const auto folder = path.empty() ? std::filesystem::path(".") : path;
  const UniqueFd opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened || ::fsync(opened.get()) != 0) throw_errno("sync " + folder.string());
}

void make_private_directory(const std::filesystem::path& path) {
  std::error_code error;
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), error);
  if (::mkdir(path.c_str(), 0700) == 0) return;
  if (errno != EEXIST || !std::filesystem::is_directory(path, error)) throw_errno("create the folder " + path.string());
}

namespace {

/// Whether the open file is still the one at this path: somebody may have removed it between open and flock.
bool is_still_at(int fd, const std::filesystem::path& path) {
  struct stat open_file {};
  struct stat named {};
  return ::fstat(fd, &open_file) == 0 && ::lstat(path.c_str(), &named) == 0 && open_file.st_ino == named.st_ino &&
         open_file.st_dev == named.st_dev;
}

}  // namespace

std::optional<FileLock> FileLock::acquire(const std::filesystem::path& path, std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (;;) {
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) throw_errno("open " + path.string());
    // flock has no time-out of its own, and an alarm would be a signal for the whole process.
    while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK && errno != EINTR) throw_errno("lock " + path.string());
      if (std::chrono::steady_clock::now() >= deadline) return std::nullopt;
      ::poll(nullptr, 0, 10);
    }
    if (is_still_at(fd.get(), path)) return FileLock(std::move(fd));
  }
}

bool FileLock::held_by_someone(const std::filesystem::path& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return errno != ENOENT;
  return ::flock(fd.get(), LOCK_SH | LOCK_NB) != 0;
}

bool FileLock::remove_if_free(const std::filesystem::path& path, const std::vector<std::filesystem::path>& others) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return errno == ENOENT;
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return false;
  if (!is_still_at(fd.get(), path)) return true;
  for (const auto& other : others) ::unlink(other.c_str());
  ::unlink(path.c_str());
  return true;
}

}  // namespace agentvault
