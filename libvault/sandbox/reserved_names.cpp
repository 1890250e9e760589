#include "sandbox/reserved_names.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "base/text.hpp"
#include "sandbox/obeyed_names.hpp"

namespace agentvault::sandbox {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kGit = "git";
constexpr std::string_view kSomeProgram = "a program";  // which a link, or configuration of git's, leads there

struct Obeyed {
  std::string path;  // lower case
  std::string_view program;
  bool is_gits = false;  // in a folder of git's; the others in any
};

const std::vector<Obeyed>& all_obeyed() {
  static const auto all = [] {
    std::vector<Obeyed> out;
    for (const auto& [name, program] : kObeyedNames) out.push_back({lower(name), program, false});
    for (const auto name : kObeyedGitPaths) out.push_back({lower(name), kGit, true});
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

}  // namespace

ReservedNames::ReservedNames(const FileView& view)
    : folders_(view.reserving), git_folders_(view.git_folders), missing_(view.missing), given_back_(view.given_back) {}

std::optional<std::string> ReservedNames::below(const std::vector<fs::path>& folders, const fs::path& path) {
  const fs::path* nearest = nullptr;
  for (const auto& folder : folders) {
    const bool nearer = nearest == nullptr || folder.native().size() > nearest->native().size();
    if (nearer && is_within(path, folder)) nearest = &folder;
  }
  if (nearest == nullptr || path == *nearest) return std::nullopt;
  return path.native().substr(nearest->native().size() + 1);
}

bool ReservedNames::is_exempt(const fs::path& path) const {
  const auto in_project = below(folders_, path);
  const auto is_below = [&](const fs::path& open) { return is_within(open, path); };
  return (in_project && is_of_packages(*in_project)) || is_given_back(path) ||
         std::any_of(given_back_.begin(), given_back_.end(), is_below);
}

bool ReservedNames::holds_project(const fs::path& path) const {
  return std::any_of(folders_.begin(), folders_.end(), [&](const auto& folder) { return is_within(folder, path); });
}

bool ReservedNames::is_given_back(const fs::path& path) const {
  return std::any_of(given_back_.begin(), given_back_.end(), [&](const auto& open) { return is_within(path, open); });
}

template <class Visit>
std::optional<std::string_view> ReservedNames::find_obeyed(const fs::path& path, const Visit& visit) const {
  const auto in_project = below(folders_, path);
  if (!in_project) return std::nullopt;
  const auto in_git = below(git_folders_, path);
  const auto is_open = [&](std::string_view rest) { return is_given_back(rest.empty() ? path : path / rest); };
  for (const auto& missing : missing_) {
    if (!is_within(missing, path)) continue;
    const std::string rest = missing == path ? "" : missing.lexically_relative(path).string();
    if (!is_open(rest) && visit(rest)) return kSomeProgram;
  }
  if (!in_git && is_of_packages(*in_project)) return std::nullopt;
  const Below place{lower(*in_project), in_git ? std::optional(lower(*in_git)) : std::nullopt};
  for (const auto& obeyed : all_obeyed()) {
    const std::string_view names = obeyed.path;
    for (auto end = names.find('/'); !names.empty(); end = names.find('/', end + 1)) {
      const auto rest = end == std::string_view::npos ? std::string_view() : names.substr(end + 1);
      if (place.is(obeyed, names.substr(0, end)) && !is_open(rest) && visit(rest)) return obeyed.program;
      if (end == std::string_view::npos) break;
    }
  }
  return std::nullopt;
}

std::optional<std::string_view> ReservedNames::obeyed_at(const fs::path& path) const {
  return find_obeyed(path, [](std::string_view rest) { return rest.empty(); });
}

std::optional<std::string_view> ReservedNames::obeyed_through(const fs::path& path) const {
  return find_obeyed(path, [](std::string_view) { return true; });
}

std::optional<std::string_view> ReservedNames::obeyed_within(const fs::path& path, const UniqueFd& folder) const {
  return find_obeyed(path, [&](std::string_view rest) {
    struct stat info {};
    return rest.empty() || ::fstatat(folder.get(), std::string(rest).c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 ||
           (errno != ENOENT && errno != ENOTDIR);
  });
}

}  // namespace agentvault::sandbox
