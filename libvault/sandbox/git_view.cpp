#include "sandbox/git_view.hpp"

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include "base/text.hpp"
#include "sandbox/named_path.hpp"
#include "sandbox/obeyed_names.hpp"
#include "sandbox/secret_files.hpp"
#include "sandbox/view_paths.hpp"

namespace agentvault::sandbox {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxGitFile = 4096;
constexpr std::size_t kMaxConfiguration = 1 << 20;
constexpr int kMostIncluded = 16;
constexpr int kMostLinks = 40;  // as the kernel has it

/// Settings that init, clone and everyday work write, and that start nothing (git-config(1)). What stands between
/// section and key is left out.
constexpr std::string_view kHarmlessSettings[]{"core.repositoryformatversion",
                                               "core.filemode",
                                               "core.bare",
                                               "core.logallrefupdates",
                                               "core.ignorecase",
                                               "core.precomposeunicode",
                                               "core.symlinks",
                                               "core.worktree",
                                               "core.autocrlf",
                                               "core.eol",
                                               "core.sparsecheckout",
                                               "core.sparsecheckoutcone",
                                               "extensions.objectformat",
                                               "extensions.partialclone",
                                               "extensions.refstorage",
                                               "remote.url",
                                               "remote.pushurl",
                                               "remote.fetch",
                                               "remote.push",
                                               "remote.tagopt",
                                               "remote.prune",
                                               "remote.promisor",
                                               "remote.partialclonefilter",
                                               "branch.remote",
                                               "branch.merge",
                                               "branch.rebase",
                                               "branch.pushremote",
                                               "user.name",
                                               "user.email",
                                               "init.defaultbranch",
                                               "pull.rebase",
                                               "pull.ff",
                                               "push.default",
                                               "push.autosetupremote",
                                               "submodule.url",
                                               "submodule.active",
                                               "submodule.branch",
                                               "lfs.repositoryformatversion"};

/// "gitdir: PATH", or only PATH (gitrepository-layout(5)).
std::optional<fs::path> path_in(const fs::path& file, std::string_view key = {}) {
  const auto contents = beginning_of(file, kMaxGitFile);
  if (contents.empty() || !contents.starts_with(key)) return std::nullopt;
  const auto line = std::string_view(contents).substr(key.size());
  return real_path(file.parent_path() / trim(line.substr(0, line.find('\n'))));
}

struct Setting {
  std::string section;  // lower case, with its subsection
  std::string key;      // lower case
  std::string value;
};

/// Without quotes, and without a comment behind it.
std::string value_in(std::string_view text) {
  std::string value;
  bool quoted = false;
  for (const char c : text) {
    if (c == '"') quoted = !quoted;
    if (!quoted && (c == '#' || c == ';')) break;
    if (c != '"') value.push_back(c);
  }
  return std::string(trim(value));
}

/// As git-config(1) writes them, line by line: what is written over several lines is not read.
std::vector<Setting> settings_of(const fs::path& file) {
  std::vector<Setting> settings;
  std::string section;
  const std::string contents = beginning_of(file, kMaxConfiguration);
  for (const auto raw : split(contents, '\n')) {
    std::string_view line = trim(raw);
    if (line.starts_with('[')) {
      const auto end = std::min(line.find(']'), line.size());
      section = lower(trim(line.substr(1, end - 1)));
      line = trim(line.substr(std::min(end + 1, line.size())));
    }
    const auto equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    settings.push_back({section, lower(trim(line.substr(0, equals))), value_in(line.substr(equals + 1))});
  }
  return settings;
}

bool names_a_file(const Setting& setting) {
  if (setting.section == "include" || setting.section.starts_with("includeif")) return setting.key == "path";
  return setting.section == "core" &&
         (setting.key == "hookspath" || setting.key == "attributesfile" || setting.key == "fsmonitor");
}

/// What a submodule's own configuration says: "worktree = ../../../lib".
std::optional<fs::path> worktree_of(const fs::path& git) {
  for (const auto& setting : settings_of(git / "config")) {
    if (setting.section == "core" && setting.key == "worktree") return real_path(git / setting.value);
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

/// What an agent may write.
bool is_agents(const fs::path& path, const FileView& view) {
  return std::any_of(view.reserving.begin(), view.reserving.end(),
                     [&](const auto& folder) { return path != folder && is_within(path, folder); });
}

/// Files of the project that a configuration has git obey. `trees` are what some of the values are relative to.
void protect_named_files(const fs::path& configuration, const std::vector<fs::path>& trees, FileView& view,
                         int depth = 0) {
  if (depth > kMostIncluded) return;
  for (const auto& setting : settings_of(configuration)) {
    if (!names_a_file(setting) || setting.value.empty()) continue;
    const bool in_home = setting.value.starts_with("~/");
    const std::string value = in_home ? setting.value.substr(2) : setting.value;
    std::vector<fs::path> bases{view.home};
    if (!in_home) {
      bases = trees;
      bases.push_back(configuration.parent_path());
    }
    for (const auto& base : bases) {
      keep_path(base / value, view);
      const auto file = real_path(base / value);
      if (file && setting.key == "path") protect_named_files(*file, trees, view, depth + 1);
    }
  }
}

}  // namespace

bool is_repository(const fs::path& git) {
  std::error_code error;
  return fs::is_regular_file(git / "HEAD", error) && fs::is_directory(git / "objects", error);
}

std::vector<fs::path> git_folders_of(fs::path folder) {
  for (;; folder = folder.parent_path()) {
    const fs::path git = folder / ".git";
    std::error_code error;
    const auto kind = fs::symlink_status(git, error).type();
    if (kind == fs::file_type::directory) return {git};
    if (kind == fs::file_type::regular) return folders_behind(git);
    if (folder == folder.parent_path()) return {};
  }
}

void keep_path(const fs::path& path, FileView& view) {
  std::error_code error;
  fs::path at = path;
  for (int links = 0; links < kMostLinks && fs::is_symlink(fs::symlink_status(at, error)); ++links) {
    at = at.parent_path() / fs::read_symlink(at, error);
  }
  const fs::path whole = fs::weakly_canonical(at, error);
  const bool is_there = fs::exists(fs::symlink_status(whole, error));
  if (is_agents(whole, view)) add_resolved(is_there ? view.read_only : view.missing, whole);
  // A link on the way is not put in the place of one that is removed.
  for (const auto& link : links_on_the_way_to(path)) {
    if (is_agents(link, view)) add_resolved(view.missing, link);
  }
}

void protect_git_folder(const fs::path& git, FileView& view, const fs::path& tree) {
  std::error_code error;
  // Git looks for it in every repository, and a cover needs something to lie on.
  if (is_repository(git)) fs::create_directory(git / "hooks", error);
  add(view.git_folders, git);
  add_all_but_links(view.read_only, git, kObeyedGitPaths);
  const std::vector<fs::path> trees{git.parent_path(), tree.empty() ? git.parent_path() : tree, view.working_directory};
  for (const auto& configuration : {git / "config", git / "config.worktree", view.home / ".gitconfig",
                                    view.home / ".config/git/config", fs::path("/etc/gitconfig")}) {
    protect_named_files(configuration, trees, view);
  }
  for (fs::directory_iterator at(git / "worktrees", error); !error && at != fs::directory_iterator();
       at.increment(error)) {
    add(view.git_folders, at->path());
    add_all_but_links(view.read_only, at->path(), kObeyedGitPaths);
    protect_named_files(at->path() / "config.worktree", trees, view);
  }
}

std::optional<std::string> runs_programs(const fs::path& entry) {
  std::error_code unknown;
  const bool is_file = fs::is_regular_file(entry, unknown);
  const fs::path git = is_file ? path_in(entry, "gitdir:").value_or(entry) : entry;
  for (const auto& setting : settings_of(git / "config")) {
    const std::string name = setting.section.substr(0, setting.section.find_first_of(" \t\".")) + "." + setting.key;
    const auto& harmless = kHarmlessSettings;
    if (std::find(std::begin(harmless), std::end(harmless), name) == std::end(harmless)) return name;
  }
  std::error_code error;
  for (fs::directory_iterator at(git / "hooks", error); !error && at != fs::directory_iterator(); at.increment(error)) {
    if (at->path().extension() != ".sample") return "hooks/" + at->path().filename().string();
  }
  return std::nullopt;
}

void protect_git_entry(const fs::path& entry, FileView& view) {
  std::error_code error;
  const bool is_link = fs::is_symlink(entry, error);
  const auto target = is_link ? real_path(entry) : path_in(entry, "gitdir:");
  if (!is_link) add(view.read_only, entry);
  if (!target) return;
  const fs::path tree = entry.parent_path();
  if (!is_within(*target, view.working_directory)) {
    // Somebody else's to write, and still what git goes by here.
    const fs::path common = path_in(*target / "commondir").value_or(*target);
    for (const auto& configuration : {*target / "config", *target / "config.worktree", common / "config"}) {
      protect_named_files(configuration, {tree}, view);
    }
    return;
  }
  if (is_repository(*target)) protect_git_folder(*target, view, tree);
  // A link itself cannot be kept from being replaced.
  if (is_link)
    view.notes.push_back(printable(entry.string()) + " is a symbolic link: the agent can put another in its place");
}

}  // namespace agentvault::sandbox
