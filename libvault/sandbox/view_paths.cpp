#include "sandbox/view_paths.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

namespace agentvault::sandbox {

namespace fs = std::filesystem;

std::optional<fs::path> real_path(const fs::path& path) {
  // Most of the places that are asked for are not there: one call tells.
  if (::faccessat(AT_FDCWD, path.c_str(), F_OK, 0) != 0) return std::nullopt;
  std::error_code missing;
  fs::path real = fs::canonical(path, missing);
  if (missing) return std::nullopt;
  return real;
}

void add(std::vector<fs::path>& list, const fs::path& path) {
  const auto real = real_path(path);
  if (real && std::find(list.begin(), list.end(), *real) == list.end()) list.push_back(*real);
}

void add_resolved(std::vector<fs::path>& list, const fs::path& path) {
  if (std::find(list.begin(), list.end(), path) == list.end()) list.push_back(path);
}

}  // namespace agentvault::sandbox
