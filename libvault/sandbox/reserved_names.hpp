// Which new files of a project an agent does not make, because a program outside would obey them
// (obeyed_names.hpp). Paths are canonical; whether names are written in capitals makes no difference, as on some file
// systems.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.hpp"
#include "sandbox/file_view.hpp"

namespace agentvault::sandbox {

class ReservedNames {
 public:
  explicit ReservedNames(const FileView& view);

  /// The program that would obey a file or folder with this path; nothing when it may be made.
  std::optional<std::string_view> obeyed_at(const std::filesystem::path& path) const;

  /// The same of a link: also where what lies below the path is obeyed.
  std::optional<std::string_view> obeyed_through(const std::filesystem::path& path) const;

  /// The same of a folder that is moved to this path with what is in it. What cannot be seen counts as being there.
  std::optional<std::string_view> obeyed_within(const std::filesystem::path& path, const UniqueFd& folder) const;

  /// Whether what is made there is not looked at: in packages of others, and in what the user has given back; also of a
  /// folder that holds something given back.
  bool is_exempt(const std::filesystem::path& path) const;

  /// Whether a folder in which names are reserved lies in this one: moved away, nobody would know it any more.
  bool holds_project(const std::filesystem::path& path) const;

 private:
  bool is_given_back(const std::filesystem::path& path) const;
  /// Calls visit(rest) for each obeyed path that `path` leads to, with what of it is below: "" for itself;
  /// until it returns true.
  template <class Visit>
  std::optional<std::string_view> find_obeyed(const std::filesystem::path& path, const Visit& visit) const;
  /// Path under the nearest folder of these; nothing outside of all.
  static std::optional<std::string> below(const std::vector<std::filesystem::path>& folders,
                                          const std::filesystem::path& path);

  std::vector<std::filesystem::path> folders_;
  std::vector<std::filesystem::path> git_folders_;
  std::vector<std::filesystem::path> missing_;
  std::vector<std::filesystem::path> given_back_;
};

}  // namespace agentvault::sandbox
