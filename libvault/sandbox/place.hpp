// A file or folder, held: what is done with it is done with what was looked at, whatever its path leads to meanwhile.
#pragma once

#include <filesystem>
#include <string>

#include "base/file.hpp"

namespace agentvault::sandbox {

/// By a path that has no link in it (openat2(2), RESOLVE_NO_SYMLINKS): null, with errno, when it has one by now, or
/// when there is nothing.
UniqueFd place_at(const std::filesystem::path& path);

/// Leads to just that file, for calls that take no descriptor, or none without rights.
inline std::string name_of_descriptor(int fd) {
  return "/proc/self/fd/" + std::to_string(fd);
}

}  // namespace agentvault::sandbox
