// The files of a mount namespace: everything read-only but what a FileView lets be written; /tmp, /run and /dev
// private.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/file.hpp"
#include "sandbox/file_view.hpp"

namespace agentvault::sandbox {

/// Contents for the session's own files, which are the same for every process inside and can be changed by none.
struct SessionFile {
  std::string name;  // under kSessionFolder
  Bytes contents;
};

inline constexpr const char* kSessionFolder = "/run/agentvault";

/// To be called with all capabilities of new mount and process namespaces. The working directory is the view's
/// afterwards. Returns the folders that are mounted only to stay where they are. Throws Error(failed), and
/// Error(denied) when it is the agent's files that cannot be set up.
std::vector<std::filesystem::path> set_up_mounts(const FileView& view);

/// When a program outside puts another file in the place of one that is hidden, protected or pinned, the kernel takes
/// the cover away with the old one. This puts it back, a moment later. Needs CAP_SYS_ADMIN in the namespace.
class MountGuard {
 public:
  MountGuard(const FileView& view, const std::vector<std::filesystem::path>& pins);
  /// Has an exceptional condition (POLLPRI) when mounts have changed. Not every change is one: restore() is to be
  /// called after patience() in any case.
  int get() const { return changes_.get(); }
  /// Milliseconds until the next look; short after something had to be put back, or has changed.
  int patience() const;
  /// Looks, if it is time to, or mounts have changed.
  void restore(bool changed);

 private:
  struct Cover {
    std::filesystem::path path;
    enum class Kind { pin, read_only, hidden } kind;
  };
  bool put_back(const Cover& cover) const;

  const FileView& view_;
  std::vector<Cover> covers_;  // a folder before what is in it
  UniqueFd changes_;
  std::size_t calm_ = 0;  // how often nothing was to be done since
  std::chrono::steady_clock::time_point next_look_{};
};

/// Later: the files, and in place of the system's roots of trust those that the session has. `bundle` names the file
/// with all of them, `own` that with the session's alone, `java` the key store, `hash` OpenSSL's name for it.
struct TrustedRoots {
  std::string bundle;
  std::string own;
  std::string java;
  std::string hash;
};
void add_session_files(const std::vector<SessionFile>& files, const TrustedRoots& roots);

}  // namespace agentvault::sandbox
