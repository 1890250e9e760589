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
#include "sandbox/git_view.hpp"
#include "sandbox/known_agents.hpp"
#include "sandbox/known_paths.hpp"
#include "sandbox/named_path.hpp"
#include "sandbox/project_search.hpp"
#include "sandbox/view_paths.hpp"

namespace agentvault::sandbox {
namespace {

namespace fs = std::filesystem;

template <class Names>
void add_all(std::vector<fs::path>& list, const fs::path& folder, const Names& names) {
  for (const auto name : names) add(list, folder / name);
}

/// Whoever could write there, or had it as it is outside, would be out.
void refuse_kernel_files(const fs::path& path, const char* option) {
  if (path != "/" && !is_within(path, "/proc") && !is_within(path, "/sys") && path != "/dev") return;
  throw Error(ErrorKind::usage, std::string(option) + ": not " + path.string(), "name folders of your own");
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
  std::vector<fs::path> gits;
  if (view.working_directory_writable) {
    gits = git_folders_of(*real);
    std::erase_if(gits, [&](const fs::path& git) { return is_within(home, git); });
    for (auto* list : {&view.writable, &view.reserving}) {
      add(*list, *real);
      for (const auto& git : gits) add(*list, git);
    }
  }
  search_project(*real, view);
  for (const auto& git : gits) protect_git_folder(git, view);
}

/// In the home, and through no link. False: there it is, or it cannot be made.
bool make_folder(const fs::path& home, const fs::path& folder) {
  std::error_code error;
  if (fs::exists(fs::symlink_status(folder, error))) return false;
  const fs::path above = folder.parent_path();
  if (above != home) make_folder(home, above);
  return real_path(above) == above && ::mkdir(folder.c_str(), 0700) == 0;
}

void make_first_folders(const KnownAgent& agent, const fs::path& home, FileView& view) {
  std::vector<std::string> made;
  for (const auto name : agent.first) {
    if (make_folder(home, home / name)) made.push_back(printable((home / name).string()));
  }
  if (!made.empty()) view.notes.push_back("made " + join(made, ", ") + " for " + std::string(agent.name));
}

/// An agent could make what is missing. Where an empty one means the same as none, it is made first: folders, texts,
/// settings.
void reserve(const fs::path& place) {
  std::error_code error;
  if (fs::exists(fs::symlink_status(place, error)) || real_path(place.parent_path()) != place.parent_path()) return;
  const auto extension = place.extension();
  if (extension.empty()) {
    ::mkdir(place.c_str(), 0700);
  } else if (extension == ".md" || extension == ".toml" || place.filename() == "settings.json") {
    const UniqueFd file(::open(place.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (file && extension == ".json") write_all(file.get(), as_bytes("{}\n"), place.string());
  }
}

void show_state_of(const KnownAgent& agent, const fs::path& home, FileView& view) {
  make_first_folders(agent, home, view);
  // Claude keeps one file beside its folder, which cannot be made in a home that is read-only.
  std::error_code error;
  if (agent.programs.front() == "claude" && !fs::exists(home / ".claude.json", error)) {
    view.environment.push_back("CLAUDE_CONFIG_DIR=" + (home / ".claude").string());
  }
  for (const auto name : agent.kept) reserve(home / name);
  add_all_but_links(view.writable, home, agent.state);
  add_all_but_links(view.read_only, home, agent.kept);
}

/// What agents keep about themselves: of those that are started for them, of all others for nobody.
void add_state_of_agents(const FileRequest& request, const fs::path& home, FileView& view) {
  const auto started = agents_started_by(request.command);
  for (const auto& agent : known_agents()) {
    if (std::find(started.begin(), started.end(), &agent) != started.end()) {
      show_state_of(agent, home, view);
    } else {
      add_all(view.hidden, home, agent.state);
    }
  }
}

void add_caches(const fs::path& home, FileView& view) {
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

/// The vault stays hidden, whoever names it.
void refuse_vault(const fs::path& path, const FileRequest& request, const char* option) {
  for (const auto& hidden : request.hide) {
    const auto vault = real_path(hidden);
    if (!vault || !is_within(path, *vault)) continue;
    throw Error(ErrorKind::usage, std::string(option) + ": " + printable(path.string()) + " lies in the vault",
                "no agent gets it; what it may use it is granted");
  }
}

fs::path opened_path(const fs::path& path, const FileRequest& request, const char* option) {
  const auto named = named_path(path, option);
  refuse_kernel_files(named, option);
  refuse_vault(named, request, option);
  return named;
}

/// What is hidden or kept is opened as a whole.
void refuse_part_of(const std::vector<fs::path>& closed, const fs::path& named, const char* what) {
  for (const auto& path : closed) {
    if (!is_within(named, path)) continue;
    throw Error(ErrorKind::usage,
                "--write: " + printable(named.string()) + " lies in " + printable(path.string()) + what,
                "name that one");
  }
}

/// A name in the project that is not there yet, and that the agent would not be let make.
std::optional<fs::path> missing_in_project(const fs::path& path, const FileView& view) {
  std::error_code error;
  const auto is_there = [&](const fs::path& at) { return fs::exists(fs::symlink_status(at, error)); };
  if (is_there(path)) return std::nullopt;
  const fs::path whole = fs::absolute(path, error).lexically_normal();
  fs::path above = whole.parent_path();
  while (!is_there(above) && above != above.parent_path()) above = above.parent_path();
  const fs::path there = named_path(above, "--write");
  if (!view.working_directory_writable || !is_within(there, view.working_directory)) return std::nullopt;
  return there / whole.lexically_relative(above);
}

/// Nothing of it is hidden or kept any more.
void open_writes(const FileRequest& request, FileView& view) {
  for (const auto& path : request.write) {
    if (const auto missing = missing_in_project(path, view)) {
      add_resolved(view.given_back, *missing);
      continue;
    }
    const auto named = opened_path(path, request, "--write");
    add_resolved(view.given_back, named);
    std::erase_if(view.reserving, [&](const fs::path& other) { return is_within(other, named); });
    const auto is_it = [&](const fs::path& other) { return is_within(other, named); };
    std::erase_if(view.hidden, is_it);
    std::erase_if(view.read_only, is_it);
    refuse_part_of(view.hidden, named, ", which is hidden");
    refuse_part_of(view.read_only, named, ", which is not changed");
    add_resolved(view.writable, named);
  }
}

void open_shares(const FileRequest& request, FileView& view) {
  for (const auto& share : request.share) {
    const auto path = opened_path(share, request, "--share");
    std::erase(view.hidden, path);
    add_resolved(view.visible, path);
  }
}

/// An agent could put another folder in the place of one that a link of its project leads to: the next key would go
/// into its vault.
void check_way_to_vault(const FileRequest& request, const FileView& view) {
  for (const auto& link : links_on_the_way_to(request.vault_as_named)) {
    for (const auto& folder : view.writable) {
      if (!is_within(link, folder)) continue;
      throw Error(ErrorKind::usage,
                  "the way to the vault leads through the symbolic link " + printable(link.string()) +
                      ", which the agent may change",
                  "name the vault's own folder, with --vault or AGENTVAULT_HOME");
    }
  }
}

}  // namespace

bool is_within(const fs::path& path, const fs::path& folder) {
  const auto [rest, end] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  (void)end;
  return rest == folder.end() || (rest->empty() && std::next(rest) == folder.end());
}

std::vector<std::string> summary_of(const FileView& view) {
  constexpr std::size_t most_named = 20;
  std::vector<std::string> lines;
  const auto say = [&](const std::string& what, const std::vector<fs::path>& paths, bool of_project_only) {
    std::vector<std::string> names;
    std::size_t count = 0;
    for (const auto& path : paths) {
      if (of_project_only && !is_within(path, view.working_directory)) continue;
      if (++count <= most_named) names.push_back(printable(path.string()));
    }
    if (count > most_named) names.push_back("and " + std::to_string(count - most_named) + " more");
    if (count > 0) lines.push_back(what + " " + join(names, ", "));
  };
  say("the agent writes to", view.writable, false);
  say("the agent sees, besides what is open to everybody,", view.visible, false);
  say("hidden in the project:", view.hidden, true);
  say("not changed in the project:", view.read_only, true);
  say("the agent may make, or change, of what programs obey:", view.given_back, true);
  return lines;
}

FileView view_of(const FileRequest& request) {
  FileView view;
  const fs::path users = home_of_user();
  const fs::path home = request.home.empty() ? users : real_path(request.home).value_or(users);
  view.home = home;
  add(view.visible, home);
  add_all(view.hidden, home, kCredentialPaths);
  if (users != home) add_all(view.hidden, users, kCredentialPaths);
  if (::geteuid() == 0) {
    for (const auto path : kMachineCredentialPaths) add(view.hidden, path);
  }
  add_working_directory(request, home, view);
  add_state_of_agents(request, home, view);
  add_caches(home, view);
  open_writes(request, view);
  for (const auto& path : request.hide) add(view.hidden, path);
  const auto program = look_up(request.command.empty() ? "" : request.command.front(), request.search_path);
  if (!program.empty()) add(view.visible, program);
  open_shares(request, view);
  // What is hidden is not written either, and has nothing in it that is.
  std::erase_if(view.writable, [&](const auto& path) {
    return std::any_of(view.hidden.begin(), view.hidden.end(), [&](const auto& h) { return is_within(path, h); });
  });
  check_way_to_vault(request, view);
  return view;
}

}  // namespace agentvault::sandbox
