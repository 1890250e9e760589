#include "sandbox/file_view.hpp"

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "sandbox/known_paths.hpp"

namespace agentvault::sandbox {
namespace {

namespace fs = std::filesystem;

constexpr int kDotEnvDepth = 3;
constexpr int kMostSearched = 4000;  // folders below the working directory
constexpr off_t kMaxGitFile = 4096;

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

template <class Names>
void add_all(std::vector<fs::path>& list, const fs::path& folder, const Names& names) {
  for (const auto name : names) add(list, folder / name);
}

/// Where an agent can write, or could before, a link is not followed: it would lead the walls to where it likes. The
/// folder is canonical.
template <class Names>
void add_all_but_links(std::vector<fs::path>& list, const fs::path& folder, const Names& names) {
  for (const auto name : names) {
    if (real_path(folder / name) == folder / name) add(list, folder / name);
  }
}

fs::path required(const fs::path& path, const char* option) {
  const auto real = real_path(path);
  if (!real) {
    throw Error(ErrorKind::usage, std::string(option) + ": there is no " + printable(path.string()),
                "name a file or folder that exists");
  }
  return *real;
}

/// Whoever could write there, or had it as it is outside, would be out.
void refuse_kernel_files(const fs::path& path, const char* option) {
  if (path != "/" && !is_within(path, "/proc") && !is_within(path, "/sys") && path != "/dev") return;
  throw Error(ErrorKind::usage, std::string(option) + ": not " + path.string(), "name folders of your own");
}

bool holds_keys(const std::string& name) {
  if (name == kDotEnv) return true;
  return name.starts_with(std::string(kDotEnv) + ".") &&
         std::none_of(kHarmlessEndings.begin(), kHarmlessEndings.end(),
                      [&](std::string_view ending) { return name.ends_with(ending); });
}

/// A small regular file; nothing for every other kind, which could block.
std::optional<std::string> small_file(const fs::path& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_size > kMaxGitFile) return std::nullopt;
  Bytes contents(static_cast<std::size_t>(kMaxGitFile));
  contents.resize(read_up_to(fd.get(), contents, path.string()));
  return std::string(as_text(contents));
}

/// "gitdir: PATH", or only PATH (gitrepository-layout(5)).
std::optional<fs::path> path_in(const fs::path& file, std::string_view key = {}) {
  const auto contents = small_file(file);
  if (!contents || !contents->starts_with(key)) return std::nullopt;
  const auto line = std::string_view(*contents).substr(key.size());
  return real_path(file.parent_path() / trim(line.substr(0, line.find('\n'))));
}

bool is_repository(const fs::path& git) {
  std::error_code error;
  return fs::is_regular_file(git / "HEAD", error) && fs::is_directory(git / "objects", error);
}

/// What a submodule's own configuration says: "worktree = ../../../lib".
std::optional<fs::path> worktree_of(const fs::path& git) {
  const auto contents = small_file(git / "config");
  if (!contents) return std::nullopt;
  for (const auto line : split(*contents, '\n')) {
    std::string_view rest = trim(line);
    constexpr std::string_view key = "worktree";
    if (!rest.starts_with(key)) continue;
    rest = trim(rest.substr(key.size()));
    if (rest.starts_with('=')) return real_path(git / trim(rest.substr(1)));
  }
  return std::nullopt;
}

/// What a .git file names. An agent can have written it, to get at another repository: so that one must know of it,
/// either as its worktree, or as a submodule of the project around, and be none that the agent could have made.
std::vector<fs::path> folders_behind(const fs::path& git_file) {
  const fs::path tree = git_file.parent_path();
  const auto own = path_in(git_file, "gitdir:");
  if (!own || is_within(*own, tree)) return {};
  for (fs::path around = tree.parent_path(); around != around.parent_path(); around = around.parent_path()) {
    if (is_within(*own, around / ".git/modules") && is_repository(*own) && worktree_of(*own) == tree) return {*own};
  }
  const auto common = path_in(*own / "commondir");
  const bool known = common && own->parent_path() == *common / "worktrees" && path_in(*own / "gitdir") == git_file;
  if (!known || !is_repository(*common) || is_within(tree, *common)) return {};
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

/// What git obeys in its own folder, and in those of other worktrees; all of its submodules'.
void protect_git_folder(const fs::path& git, FileView& view) {
  std::error_code error;
  // An agent could make it where it is missing.
  if (is_repository(git)) fs::create_directory(git / "hooks", error);
  add_all_but_links(view.read_only, git, kObeyedGitPaths);
  for (fs::directory_iterator at(git / "worktrees", error); !error && at != fs::directory_iterator();
       at.increment(error)) {
    add_all_but_links(view.read_only, at->path(), kObeyedGitPaths);
  }
  // Which of its folders are repositories an agent could change: none of them changes.
  add_all_but_links(view.read_only, git, kSubmodules);
}

/// A link that is called like a file with keys, to a plain file of the user's: not to a program or a library, which
/// would be hidden from everybody inside.
bool leads_to_keys(const fs::path& link, const fs::path& home) {
  const auto target = real_path(link);
  struct stat info {};
  return target && is_within(*target, home) && ::stat(target->c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
         (info.st_mode & 0111) == 0;
}

/// Files that hold keys, and repositories in the working directory: level by level, so that what lies deep hides
/// nothing above it.
void search(const fs::path& working_directory, const fs::path& home, FileView& view) {
  std::vector<fs::path> level{working_directory};
  int searched = 0;
  for (int depth = 0; depth <= kDotEnvDepth && !level.empty(); ++depth) {
    std::vector<fs::path> below;
    for (const auto& folder : level) {
      if (++searched > kMostSearched) return;
      std::error_code error;
      for (fs::directory_iterator at(folder, error); !error && at != fs::directory_iterator(); at.increment(error)) {
        const std::string name = at->path().filename();
        std::error_code unknown;
        const auto kind = at->symlink_status(unknown).type();
        if (holds_keys(name) && (kind == fs::file_type::regular || leads_to_keys(at->path(), home))) {
          add(view.hidden, at->path());
        }
        if (name == ".git" && kind == fs::file_type::regular) add(view.read_only, at->path());
        if (name == ".git" && kind == fs::file_type::directory) protect_git_folder(at->path(), view);
        const bool skipped = std::find(kUnsearched.begin(), kUnsearched.end(), name) != kUnsearched.end();
        if (kind == fs::file_type::directory && !skipped) below.push_back(at->path());
      }
    }
    level = std::move(below);
  }
}

/// Somebody's whole home, the system, or what programs are configured by is no project.
bool is_project(const fs::path& folder, const fs::path& home) {
  const auto holds_it = [&](std::string_view system) { return is_within(folder, system); };
  if (std::any_of(kSystemFolders.begin(), kSystemFolders.end(), holds_it)) return false;
  // These are private; folders in them are not.
  if (std::find(kTemporaryFolders.begin(), kTemporaryFolders.end(), folder.native()) != kTemporaryFolders.end()) {
    return false;
  }
  return !is_within(home, folder) && !is_within(folder, home / ".config") && !is_within(folder, home / ".local");
}

/// As the system knows it, whatever HOME says.
fs::path home_of_user() {
  passwd entry{};
  passwd* found = nullptr;
  std::array<char, 16384> space{};
  const bool known = ::getpwuid_r(::geteuid(), &entry, space.data(), space.size(), &found) == 0 && found != nullptr;
  return known ? real_path(entry.pw_dir).value_or("/") : fs::path("/");
}

/// What the agent has of its own: showing it the machine's instead would undo that.
bool is_private(const fs::path& folder) {
  return is_within(folder, "/proc") || is_within(folder, "/sys") || is_within(folder, "/dev") || folder == "/run" ||
         std::find(kTemporaryFolders.begin(), kTemporaryFolders.end(), folder.native()) != kTemporaryFolders.end();
}

void add_working_directory(const FileRequest& request, const fs::path& home, FileView& view) {
  const auto real = real_path(request.working_directory);
  if (!real) throw Error(ErrorKind::usage, "the working directory is gone", "change to a folder that exists");
  for (const auto& path : request.hide) {
    const auto hidden = real_path(path);
    if (hidden && is_within(*real, *hidden)) {
      throw Error(ErrorKind::usage, "the working directory lies in the vault", "start in a project");
    }
  }
  view.working_directory = *real;
  view.working_directory_writable = is_project(*real, home) && is_project(*real, home_of_user());
  if (!is_private(*real)) add(view.visible, *real);
  search(*real, home, view);
  if (!view.working_directory_writable) return;
  add(view.writable, *real);
  add_all_but_links(view.read_only, *real, kObeyedPaths);
  for (const auto& git : git_folders(*real)) {
    if (is_within(home, git)) continue;
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
  add_all_but_links(view.writable, home, kAgentStatePaths);
  add_all_but_links(view.writable, home, kCachePaths);
  for (const auto& cache : kCacheVariables) {
    std::error_code error;
    if (!fs::exists(home / cache.usual, error)) {
      view.environment.push_back(std::string(cache.variable) + "=%/.cache/" + std::string(cache.instead));
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
    refuse_kernel_files(path, "--share");
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
  const fs::path users = home_of_user();
  const fs::path home = request.home.empty() ? users : real_path(request.home).value_or(users);
  add(view.visible, home);
  add_all(view.hidden, home, kCredentialPaths);
  if (users != home) add_all(view.hidden, users, kCredentialPaths);
  if (::geteuid() == 0) {
    for (const auto path : kMachineCredentialPaths) add(view.hidden, path);
  }
  add_working_directory(request, home, view);
  add_state_of_agents(request, home, view);
  for (const auto& path : request.write) {
    const auto named = required(path, "--write");
    refuse_kernel_files(named, "--write");
    add(view.writable, named);
  }
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
