// What the broker gives up before the agent starts: it parses hostile bytes, and holds the keys.
#pragma once

#include <filesystem>
#include <vector>

namespace agentvault::sandbox {

struct BrokerNeeds {
  /// Folders from which it removes its own files at the end, and folders that it removes themselves (named by the one
  /// they are in).
  std::vector<std::filesystem::path> removes_files_in;
  std::vector<std::filesystem::path> removes_folders_in;
  /// Besides the system's own: certificates that the user named.
  std::vector<std::filesystem::path> reads;
};

/// From here on this process starts no program, opens no file for writing, makes no AF_UNIX socket, signals nobody but
/// whose handle it has, and has no capability but for that. Where the kernel has no Landlock, files are left to the
/// filter of system calls. Throws Error(failed).
void confine_broker(const BrokerNeeds& needs);

}  // namespace agentvault::sandbox
