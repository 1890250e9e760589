#include "sandbox/file_view.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "sandbox/known_paths.hpp"

namespace agentvault::sandbox {
namespace {

namespace fs = std::filesystem;

constexpr int kDotEnvDepth = 3;
constexpr int kMostSearched = 4000;
constexpr int kMostSubmodules = 64;
constexpr std::size_t kMaxGitFile = 4096;

std::optional<fs::path> real_path(const fs::path& path) {
  std::error_code missing;
  fs::path real = fs::canonical(path, missing);
  if (missing) return std::nullopt;
  return real;
}

void add(std::vector<fs::path>& list, const fs::path& path) {
  const auto real = real_path(path);
  if (real && std::find(list.begin(), list.end(), *real) == list.end()) list.push_back(*real);
}

template <class Names>
void add_all(std::vector<fs::path>& list, const fs::path& folder, const Names& names) {
  for (const auto name : names) add(list, folder / name);
}

fs::path required(const fs::path& path, const char* option) {
  const auto real = real_path(path);
  if (!real) {
    throw Error(ErrorKind::usage, std::string(option) + ": there is no " + printable(path.string()),
                "name a file or folder that exists");
  }
  return *real;
}

bool holds_keys(const std::string& name) {
  if (name == kDotEnv) return true;
  return name.starts_with(std::string(kDotEnv) + ".") &&
         std::none_of(kHarmlessEndings.begin(), kHarmlessEndings.end(),
                      [&](std::string_view ending) { return name.ends_with(ending); });
}

void add_dot_env_files(std::vector<fs::path>& hidden, const fs::path& folder) {
  std::error_code error;
  int searched = 0;
  using Walk = fs::recursive_directory_iterator;
  for (Walk at(folder, fs::directory_options::skip_permission_denied, error); !error && at != Walk();
       at.increment(error)) {
    if (++searched > kMostSearched) return;
    const std::string name = at->path().filename();
    std::error_code unknown;
    if (at->is_directory(unknown) && !at->is_symlink(unknown)) {
      const bool skipped = std::find(kUnsearched.begin(), kUnsearched.end(), name) != kUnsearched.end();
      if (skipped || at.depth() >= kDotEnvDepth) at.disable_recursion_pending();
    } else if (holds_keys(name) && at->is_regular_file(unknown)) {
      add(hidden, at->path());
    }
  }
}

/// "gitdir: PATH", or only PATH (gitrepository-layout(5)).
std::optional<fs::path> path_in(const fs::path& file, std::string_view key = {}) {
  const auto contents = read_file(file, kMaxGitFile);
  if (!contents || !as_text(*contents).starts_with(key)) return std::nullopt;
  const auto line = as_text(*contents).substr(key.size());
  return real_path(file.parent_path() / trim(line.substr(0, line.find('\n'))));
}

/// What a .git file names. An agent can have written it, to get at another repository: so that one must know of it,
/// either as its worktree, or as a submodule of the project around.
std::vector<fs::path> folders_behind(const fs::path& git_file) {
  const auto own = path_in(git_file, "gitdir:");
  if (!own) return {};
  for (fs::path around = git_file.parent_path(); around != around.parent_path(); around = around.parent_path()) {
    if (is_within(*own, around / ".git/modules")) return {*own};
  }
  const auto common = path_in(*own / "commondir");
  if (!common || !is_within(*own, *common / "worktrees") || path_in(*own / "gitdir") != git_file) return {};
  return {*own, *common};
}

/// The repository that the working directory belongs to.
std::vector<fs::path> git_folders(fs::path folder) {
  for (;; folder = folder.parent_path()) {
    const fs::path git = folder / ".git";
    std::error_code error;
    const auto kind = fs::symlink_status(git, error).type();
    if (kind == fs::file_type::directory) return {git};
    if (kind == fs::file_type::regular) return folders_behind(git);
    if (folder == folder.parent_path()) return {};
  }
}

/// What git obeys in its own folder, and in those of submodules below.
void protect_git_folder(const fs::path& git, FileView& view) {
  std::error_code error;
  // An agent could make it where it is missing.
  if (fs::exists(git / "objects", error)) fs::create_directory(git / "hooks", error);
  add_all(view.read_only, git, kObeyedGitPaths);
  int submodules = 0;
  using Walk = fs::recursive_directory_iterator;
  for (Walk at(git / "modules", error); !error && at != Walk(); at.increment(error)) {
    if (at->path().filename() != "HEAD" || at->path().parent_path().filename() == "logs") continue;
    if (++submodules > kMostSubmodules) return;
    add_all(view.read_only, at->path().parent_path(), kObeyedGitPaths);
  }
}

void add_working_directory(const FileRequest& request, const fs::path& home, FileView& view) {
  const auto real = real_path(request.working_directory);
  if (!real) throw Error(ErrorKind::failed, "the working directory is gone", "change to a folder that exists");
  view.working_directory = *real;
  // Somebody's whole home, or the whole machine, is no project.
  view.working_directory_writable = !is_within(home, *real);
  add(view.visible, *real);
  add_dot_env_files(view.hidden, *real);
  if (!view.working_directory_writable) return;
  add(view.writable, *real);
  add_all(view.read_only, *real, kObeyedPaths);
  for (const auto& git : git_folders(*real)) {
    add(view.writable, git);
    protect_git_folder(git, view);
  }
}

void add_state_of_agents(const FileRequest& request, const fs::path& home, FileView& view) {
  const std::string program = fs::path(request.program).filename();
  for (const auto& first : kFirstStates) {
    if (first.program != program) continue;
    std::error_code error;
    fs::create_directory(home / first.folder, error);
    // Claude keeps one file beside its folder, which cannot be made in a home that is read-only.
    if (program == "claude" && !fs::exists(home / ".claude.json", error)) {
      view.environment.push_back("CLAUDE_CONFIG_DIR=" + (home / first.folder).string());
    }
  }
  add_all(view.writable, home, kAgentStatePaths);
  add_all(view.writable, home, kCachePaths);
  for (const auto& cache : kCacheVariables) {
    std::error_code error;
    if (!fs::exists(home / cache.usual, error)) {
      view.environment.push_back(std::string(cache.variable) + "=/tmp/.cache/" + std::string(cache.instead));
    }
  }
}

fs::path look_up(const std::string& program, const std::string& search_path) {
  if (program.find('/') != std::string::npos) return program;
  for (const auto folder : split(search_path, ':')) {
    const fs::path candidate = fs::path(folder.empty() ? "." : folder) / program;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return {};
}

void open_shares(const FileRequest& request, FileView& view) {
  for (const auto& share : request.share) {
    const auto path = required(share, "--share");
    std::erase(view.hidden, path);
    add(view.visible, path);
  }
}

}  // namespace

bool is_within(const fs::path& path, const fs::path& folder) {
  const auto [rest, end] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  (void)end;
  return rest == folder.end() || (rest->empty() && std::next(rest) == folder.end());
}

FileView view_of(const FileRequest& request) {
  FileView view;
  const fs::path home = real_path(request.home).value_or("/");
  add(view.visible, home);
  add_all(view.hidden, home, kCredentialPaths);
  if (::geteuid() == 0) {
    for (const auto path : kMachineCredentialPaths) add(view.hidden, path);
  }
  add_working_directory(request, home, view);
  add_state_of_agents(request, home, view);
  for (const auto& path : request.write) add(view.writable, required(path, "--write"));
  for (const auto& path : request.hide) add(view.hidden, path);
  if (const auto program = look_up(request.program, request.search_path); !program.empty()) add(view.visible, program);
  open_shares(request, view);
  // What is hidden is not written either, and has nothing in it that is.
  std::erase_if(view.writable, [&](const auto& path) {
    return std::any_of(view.hidden.begin(), view.hidden.end(), [&](const auto& h) { return is_within(path, h); });
  });
  return view;
}

}  // namespace agentvault::sandbox
