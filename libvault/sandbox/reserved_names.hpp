// Which new files of a project an agent does not make, because a program outside would obey them
// (obeyed_names.hpp). Paths are canonical; whether names are written in capitals makes no difference, as on some file
// systems.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sandbox/file_view.hpp"

namespace agentvault::sandbox {

class ReservedNames {
 public:
  explicit ReservedNames(const FileView& view);

  /// The program that would obey a file or folder with this path; nothing when it may be made.
  std::optional<std::string_view> obeyed_at(const std::filesystem::path& path) const;

  /// The same of a folder that is moved to this path with what is in it: `folder` is where it lies now.
  std::optional<std::string_view> obeyed_within(const std::filesystem::path& path,
                                                const std::filesystem::path& folder) const;

  /// Whether it is a folder with packages of others, or lies in one: everything may be made there.
  bool is_in_package(const std::filesystem::path& path) const;

 private:
  /// Path under the nearest folder of these; nothing outside of all.
  static std::optional<std::string> below(const std::vector<std::filesystem::path>& folders,
                                          const std::filesystem::path& path);

  std::vector<std::filesystem::path> folders_;
  std::vector<std::filesystem::path> git_folders_;
  std::vector<std::filesystem::path> given_back_;
};

}  // namespace agentvault::sandbox
