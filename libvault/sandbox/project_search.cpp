#include "sandbox/project_search.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.hpp"
#include "base/text.hpp"
#include "sandbox/git_view.hpp"
#include "sandbox/known_paths.hpp"
#include "sandbox/obeyed_names.hpp"
#include "sandbox/secret_files.hpp"
#include "sandbox/view_paths.hpp"

namespace agentvault::sandbox {
namespace {

namespace fs = std::filesystem;

constexpr int kMostFolders = 200'000;
constexpr std::size_t kMostCovered = 2'000;  // each is a mount
constexpr std::size_t kMagic = 4;
constexpr std::string_view kGit = ".git";

/// First name of an obeyed path -> what is under it.
const std::unordered_multimap<std::string_view, std::string_view>& obeyed() {
  static const auto all = [] {
    std::unordered_multimap<std::string_view, std::string_view> out;
    for (const auto& [name, program] : kObeyedNames) {
      const auto slash = name.find('/');
      out.emplace(name.substr(0, slash), slash == std::string_view::npos ? std::string_view() : name.substr(slash + 1));
    }
    return out;
  }();
  return all;
}

class Search {
 public:
  explicit Search(FileView& view) : view_(view) {}

  void run(const fs::path& project) {
    std::vector<fs::path> level{project};
    int searched = 0;
    while (!level.empty()) {
      std::vector<fs::path> below;
      for (const auto& folder : level) {
        if (++searched > kMostFolders) {
          view_.notes.push_back("this project has more than " + std::to_string(kMostFolders) +
                                " folders: in the rest files with keys were not looked for, and the agent sees them");
          return;
        }
        look_into(folder, below);
      }
      level = std::move(below);
    }
  }

 private:
  void look_into(const fs::path& folder, std::vector<fs::path>& below) {
    std::error_code error;
    int marks_of_git = 0;
    for (fs::directory_iterator at(folder, error); !error && at != fs::directory_iterator(); at.increment(error)) {
      std::error_code unknown;
      const auto kind = at->symlink_status(unknown).type();
      const std::string name = at->path().filename();
      marks_of_git += name == "HEAD" || name == "objects";
      if (name == kGit) {
        look_at_git(at->path(), kind);
        continue;
      }
      if (hides(at->path(), name, kind)) cover(view_.hidden, at->path());
      keep_obeyed(folder, name, kind);
      if (kind == fs::file_type::directory && name != kPackageFolder) below.push_back(at->path());
    }
    // A bare one, or one with another name.
    if (marks_of_git == 2 && is_repository(folder)) protect_git_folder(folder, view_);
  }

  void look_at_git(const fs::path& path, fs::file_type kind) {
    if (kind == fs::file_type::directory) return protect_git_folder(path, view_);
    if (kind == fs::file_type::regular || kind == fs::file_type::symlink) protect_git_entry(path, view_);
  }

  bool hides(const fs::path& path, const std::string& name, fs::file_type kind) const {
    if (kind == fs::file_type::symlink) return is_named_like_keys(name) && leads_to_keys(path);
    // A pipe, too: password managers serve .env as one.
    if (kind == fs::file_type::fifo) return is_named_like_keys(name);
    if (kind != fs::file_type::regular) return false;
    return is_named_like_keys(name) || (may_hold_keys(name) && holds_keys(path));
  }

  /// A plain file, wherever it is: but no program or library, which would be hidden from everybody inside, and none
  /// that is hidden with its folder.
  bool leads_to_keys(const fs::path& link) const {
    const auto target = real_path(link);
    struct stat info {};
    if (!target || ::stat(target->c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return false;
    const auto holds_it = [&](const auto& folder) { return is_within(*target, folder); };
    const std::string begin = beginning_of(*target, kMagic);
    return std::none_of(kSystemFolders.begin(), kSystemFolders.end(), holds_it) &&
           std::none_of(view_.hidden.begin(), view_.hidden.end(), holds_it) && !begin.starts_with("\177ELF") &&
           !begin.starts_with("#!");
  }

  void keep_obeyed(const fs::path& folder, const std::string& name, fs::file_type kind) {
    const auto [begin, end] = obeyed().equal_range(name);
    for (auto entry = begin; entry != end; ++entry) {
      const fs::path path = entry->second.empty() ? folder / name : folder / name / entry->second;
      // A link cannot be kept, but what it leads to can, if that is the project's own: the link is not made anew.
      if (kind == fs::file_type::symlink) {
        keep_path(path, view_);
      } else if (real_path(path) == path) {
        cover(view_.read_only, path);
      }
    }
  }

  void cover(std::vector<fs::path>& list, const fs::path& path) {
    if (view_.hidden.size() + view_.read_only.size() >= kMostCovered) {
      throw Error(ErrorKind::denied,
                  "this project has more than " + std::to_string(kMostCovered) +
                      " files that hold keys or that programs obey, such as " + printable(path.string()),
                  "remove those that nobody needs: an agent may have made them");
    }
    add(list, path);
  }

  FileView& view_;
};

}  // namespace

void search_project(const fs::path& project, FileView& view) {
  Search(view).run(project);
}

}  // namespace agentvault::sandbox
