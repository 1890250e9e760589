#include "sandbox/reserved_names.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "sandbox/obeyed_names.hpp"

namespace agentvault::sandbox {
namespace {

namespace fs = std::filesystem;

struct Obeyed {
  std::string path;  // lower case
  std::string_view program;
  bool is_gits = false;  // in a folder of git's; the others in any
};

const std::vector<Obeyed>& all_obeyed() {
  static const auto all = [] {
    std::vector<Obeyed> out;
    for (const auto& [name, program] : kObeyedNames) out.push_back({lower(name), program, false});
    for (const auto name : kObeyedGitPaths) out.push_back({lower(name), "git", true});
    return out;
  }();
  return all;
}

/// `names` are all of `path`, or its last ones.
bool ends_with_names(std::string_view path, std::string_view names) {
  return path == names || (path.ends_with(names) && path[path.size() - names.size() - 1] == '/');
}

/// Where a path lies: under the folder of the project, and under that of git, if it lies in one.
struct Below {
  std::string project;             // lower case
  std::optional<std::string> git;  // lower case

  bool is(const Obeyed& obeyed, std::string_view names) const {
    return obeyed.is_gits ? git == names : ends_with_names(project, names);
  }
};

/// Of the folder with packages the same goes as for what is in it: with another name it would be another folder.
bool is_of_packages(std::string_view path) {
  const auto names = split(path, '/');
  return std::find(names.begin(), names.end(), kPackageFolder) != names.end();
}

std::optional<std::string> in_lower_case(const std::optional<std::string>& path) {
  return path ? std::optional(lower(*path)) : std::nullopt;
}

}  // namespace

ReservedNames::ReservedNames(const FileView& view)
    : folders_(view.reserving), git_folders_(view.git_folders), given_back_(view.given_back) {}

std::optional<std::string> ReservedNames::below(const std::vector<fs::path>& folders, const fs::path& path) {
  const fs::path* nearest = nullptr;
  for (const auto& folder : folders) {
    const bool nearer = nearest == nullptr || folder.native().size() > nearest->native().size();
    if (nearer && is_within(path, folder)) nearest = &folder;
  }
  if (nearest == nullptr || path == *nearest) return std::nullopt;
  return path.native().substr(nearest->native().size() + 1);
}

bool ReservedNames::is_in_package(const fs::path& path) const {
  const auto in_project = below(folders_, path);
  return in_project && is_of_packages(*in_project);
}

std::optional<std::string_view> ReservedNames::obeyed_at(const fs::path& path) const {
  const auto given = [&](const fs::path& open) { return is_within(path, open); };
  const auto in_project = below(folders_, path);
  if (!in_project || std::any_of(given_back_.begin(), given_back_.end(), given)) return std::nullopt;
  const Below place{lower(*in_project), in_lower_case(below(git_folders_, path))};
  if (!place.git && is_of_packages(*in_project)) return std::nullopt;
  for (const auto& obeyed : all_obeyed()) {
    if (place.is(obeyed, obeyed.path)) return obeyed.program;
  }
  return std::nullopt;
}

std::optional<std::string_view> ReservedNames::obeyed_within(const fs::path& path, const fs::path& folder) const {
  if (const auto program = obeyed_at(path)) return program;
  const auto in_project = below(folders_, path);
  if (!in_project) return std::nullopt;
  const Below place{lower(*in_project), in_lower_case(below(git_folders_, path))};
  for (const auto& obeyed : all_obeyed()) {
    const std::string_view names = obeyed.path;
    for (auto slash = names.find('/'); slash != std::string_view::npos; slash = names.find('/', slash + 1)) {
      const auto rest = names.substr(slash + 1);
      std::error_code unknown;
      if (place.is(obeyed, names.substr(0, slash)) && fs::exists(fs::symlink_status(folder / rest, unknown)) &&
          obeyed_at(path / rest)) {
        return obeyed.program;
      }
    }
  }
  return std::nullopt;
}

}  // namespace agentvault::sandbox
