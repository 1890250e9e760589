// Files and descriptors: owned, bounded, replaced atomically and durably. Paths are the user's own; nothing here
// follows what an agent said.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/secret_bytes.hpp"

namespace agentvault {

/// Owns one file descriptor.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

/// Writes all of it, through EINTR and short writes; throws on error.
void write_all(int fd, ByteView bytes, const std::string& what);
/// Reads until `size` bytes or end of file; returns how many came.
std::size_t read_up_to(int fd, std::span<std::uint8_t> space, const std::string& what);

/// The whole file, or nothing when there is none. Throws when it is larger than `most` bytes.
std::optional<Bytes> read_file(const std::filesystem::path& path, std::size_t most);

/// The same for a file of the program's own: whatever else lies in its place, a link or a pipe that would block, is
/// refused with Error(integrity).
std::optional<Bytes> read_own_file(const std::filesystem::path& path, std::size_t most);

/// Temporary file beside it, fsync, rename, fsync of the folder: either the old contents or the new, also after a power
/// cut. Mode 0600. The temporary file is called like it with `suffix`; one that is there already is overwritten.
void replace_file(const std::filesystem::path& path, ByteView contents, const std::string& suffix = ".new");

/// Makes what was created, renamed or removed in a folder survive a power cut.
void sync_directory(const std::filesystem::path& path);

/// Creates the folder with mode 0700 if it is missing.
void make_private_directory(const std::filesystem::path& path);

/// flock() on a file that is created when missing; released on destruction or death. The descriptor is close-on-exec.
class FileLock {
 public:
  /// Waits up to `patience`; nothing when another process still holds it then.
  static std::optional<FileLock> acquire(const std::filesystem::path& path, std::chrono::milliseconds patience);
  /// Whether some process holds the lock. A missing file is not locked; one that cannot be looked at counts as held.
  static bool held_by_someone(const std::filesystem::path& path);
  /// Deletes the file, and the others, if nobody holds its lock: under the lock, so that none is deleted that somebody
  /// is just taking. False when it is held.
  static bool remove_if_free(const std::filesystem::path& path, const std::vector<std::filesystem::path>& others);

 private:
  explicit FileLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace agentvault
