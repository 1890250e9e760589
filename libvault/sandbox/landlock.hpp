// Landlock (landlock(7)): what a process and its descendants may do with files, and whom they may reach by signals and
// abstract sockets. Needs no privilege, and cannot be undone.
#pragma once

#include <cstdint>

#include "base/file.hpp"

namespace agentvault::sandbox {

/// Bits of LANDLOCK_ACCESS_FS_*, for which the system's headers may be too old.
namespace access {
inline constexpr std::uint64_t kExecute = 1 << 0;
inline constexpr std::uint64_t kWriteFile = 1 << 1;
inline constexpr std::uint64_t kReadFile = 1 << 2;
inline constexpr std::uint64_t kReadFolder = 1 << 3;
inline constexpr std::uint64_t kRemoveFolder = 1 << 4;
inline constexpr std::uint64_t kRemoveFile = 1 << 5;
inline constexpr std::uint64_t kMake = 0x1fc0 & ~(1 << 9);  // all kinds of files but sockets
inline constexpr std::uint64_t kRefer = 1 << 13;            // to another folder; ABI 2
inline constexpr std::uint64_t kTruncate = 1 << 14;
inline constexpr std::uint64_t kIoctlDevice = 1 << 15;
inline constexpr std::uint64_t kNothing = 0;
/// What a domain forbids, and allows again everywhere, that is there for its other effects.
inline constexpr std::uint64_t kNothingMuch = kExecute | kRefer;
inline constexpr std::uint64_t kRead = kExecute | kReadFile | kReadFolder;
inline constexpr std::uint64_t kAll = ~std::uint64_t{0};  // of what the kernel knows
inline constexpr std::uint64_t kWrite = kAll & ~(kRead | kIoctlDevice);
}  // namespace access

/// Version of the kernel's Landlock; 0 without.
int landlock_abi();
inline constexpr int kAbiWithScopes = 6;

class Landlock {
 public:
  enum class Scope {
    none,
    sockets,              // no abstract socket of others (ABI 6)
    sockets_and_signals,  // and no signal to others (ABI 6)
  };

  /// Forbids these kinds of file access but for what is allowed below, and `scope`, both as far as this kernel knows
  /// them. Throws Error(failed) where there is no Landlock.
  Landlock(std::uint64_t forbidden, Scope scope);

  /// Allows `rights` at this path and under it. Of a path that is no folder only what files have. False when there is
  /// no such path.
  bool allow(const std::filesystem::path& path, std::uint64_t rights);
  /// The same, but not through a link.
  bool allow_exactly(const std::filesystem::path& path, std::uint64_t rights);

  /// From here on this thread and whatever it starts. Sets no_new_privs.
  void enforce();

 private:
  bool allow_place(const UniqueFd& place, std::uint64_t rights);

  std::uint64_t handled_ = 0;
  UniqueFd rules_;
};

}  // namespace agentvault::sandbox
