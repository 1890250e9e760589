// A folder of a session's own that an agent can read, gone with it.
#pragma once

#include <filesystem>

namespace agentvault::session {

class ThrowAwayFolder {
 public:
  /// In $XDG_RUNTIME_DIR, else $TMPDIR, else /tmp; mode 0700.
  ThrowAwayFolder();
  ~ThrowAwayFolder();
  ThrowAwayFolder(const ThrowAwayFolder&) = delete;
  ThrowAwayFolder& operator=(const ThrowAwayFolder&) = delete;

  const std::filesystem::path& path() const { return folder_; }

 private:
  std::filesystem::path folder_;
};

}  // namespace agentvault::session
