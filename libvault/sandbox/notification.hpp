// A system call of an agent's that waits for this process to answer it (seccomp_unotify(2)). What its arguments point
// to can change at any time, so everything is copied, or held as a descriptor, before it is judged; and what was judged
// is what this process then does itself.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.hpp"
#include "base/file.hpp"

namespace agentvault::sandbox {

/// What /proc/PID/status says of a process or a thread (proc(5)).
struct ProcessStatus {
  std::optional<std::uint64_t> process;
  std::optional<mode_t> umask;           // Linux 4.7
  std::optional<std::uint64_t> filters;  // of system calls: Linux 5.9
};
ProcessStatus status_of(pid_t thread);

class Notification {
 public:
  /// Nothing when whoever asked is gone.
  static std::optional<Notification> receive(int listener);

  int call() const { return call_; }
  pid_t thread() const { return thread_; }
  std::uint64_t argument(int index) const { return arguments_[index]; }
  int descriptor(int index) const { return static_cast<int>(arguments_[index]); }

  /// `size` bytes of its memory; false when they cannot be read.
  bool copy(std::uint64_t address, void* to, std::size_t size) const;
  /// Text up to a zero byte; nothing, with errno, when it cannot be read (EFAULT), or is longer than `most` bytes
  /// (ENAMETOOLONG).
  std::optional<std::string> text(std::uint64_t address, std::size_t most) const;

  enum class LastLink { follow, hold };
  /// The file that a path names to whoever asks, held without being opened (O_PATH). Null, with errno, when there is
  /// none. An empty path is the folder's own descriptor. Links into /proc/PID/fd and the like are followed only where
  /// the path itself begins so.
  UniqueFd file(int from, const std::string& path, LastLink last) const;
  /// The file behind one of its descriptors, held.
  UniqueFd file(int descriptor) const;
  /// One of its descriptors itself, sharing position and flags. Null, with errno, when there is none.
  UniqueFd take(int descriptor, const ProcessStatus& status) const;

  /// Whether it is still the same call that waits: what was looked at above is of its process, and not of another one
  /// with its number.
  bool still_waits() const;
  /// 0, or the errno that the call fails with.
  void answer(int error) const;
  /// The kernel makes the call, with what its arguments point to by then: for calls that it judges by itself.
  void leave_to_kernel() const;
  /// The call returns a new descriptor of this file (Linux 5.14). False: whoever asked cannot have it, and is told why.
  /// This process has none of it any more by then: locks on it are the agent's, and so is its last close().
  bool hand_over(UniqueFd file, bool close_on_exec) const;

 private:
  std::string in_proc(const std::string& name) const;
  /// AT_FDCWD, too.
  UniqueFd folder(int descriptor) const;

  int listener_ = -1;
  std::uint64_t id_ = 0;
  pid_t thread_ = 0;
  int call_ = -1;
  std::uint64_t arguments_[6]{};
};

}  // namespace agentvault::sandbox
