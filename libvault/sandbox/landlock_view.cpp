#include "sandbox/landlock_view.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.hpp"
#include "base/text.hpp"
#include "sandbox/known_paths.hpp"

namespace agentvault::sandbox {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNamesOfHosts = "/run/systemd/resolve";
constexpr const char* kDevices[]{"/dev/null", "/dev/zero", "/dev/full",     "/dev/random", "/dev/urandom",
                                 "/dev/tty",  "/dev/ptmx", "/dev/pts/ptmx", "/dev/shm"};

bool any_within(const std::vector<fs::path>& paths, const fs::path& folder) {
  return std::any_of(paths.begin(), paths.end(), [&](const auto& path) { return is_within(path, folder); });
}

/// Everything in a folder, one rule for each entry that holds nothing closed.
void allow_reading(Landlock& rules, const fs::path& folder, const std::vector<fs::path>& closed) {
  if (!any_within(closed, folder)) {
    rules.allow_exactly(folder, access::kRead);
    return;
  }
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    std::error_code unknown;
    // What a link leads to has its own place.
    if (entry.is_symlink(unknown) || std::find(closed.begin(), closed.end(), entry.path()) != closed.end()) continue;
    if (!any_within(closed, entry.path())) {
      rules.allow_exactly(entry.path(), access::kRead);
    } else if (entry.is_directory(unknown)) {
      allow_reading(rules, entry.path(), closed);
    }
  }
}

}  // namespace

void check_without_mounts(const FileView& view, const std::vector<fs::path>& must_be_hidden) {
  for (const auto& path : must_be_hidden) {
    std::error_code missing;
    const auto real = fs::canonical(path, missing);
    if (missing) continue;
    for (const auto& folder : view.writable) {
      if (!is_within(real, folder)) continue;
      throw Error(ErrorKind::usage,
                  "the vault lies inside " + printable(folder.string()) + ", which the agent may change",
                  "only isolation strict can hide it there; or move one of the two");
    }
  }
}

std::vector<fs::path> written_without_mounts(const FileView& view) {
  std::vector<fs::path> out;
  for (const auto& path : view.writable) {
    // One that holds something hidden would show it.
    if (path == view.working_directory || !any_within(view.hidden, path)) out.push_back(path);
  }
  return out;
}

void note_what_stays_open(FileView& view) {
  constexpr std::size_t most_named = 4;
  std::string names;
  std::size_t count = 0;
  for (const auto& path : view.hidden) {
    if (!is_within(path, view.working_directory)) continue;
    if (++count <= most_named)
      names += (count > 1 ? ", " : "") + printable(path.lexically_relative(view.working_directory).string());
  }
  if (count == 0) return;
  if (count > most_named) names += " and " + std::to_string(count - most_named) + " more";
  view.notes.push_back("isolation standard cannot hide files of the project: the agent reads " + names);
}

Landlock rules_for(const FileView& view, const std::string& terminal) {
  Landlock rules(access::kAll, Landlock::Scope::sockets_and_signals);
  std::vector<fs::path> closed = view.hidden;
  closed.insert(closed.end(), kPrivateFolders.begin(), kPrivateFolders.end());
  allow_reading(rules, "/", closed);
  // Names of files are no secret; without them not even "ls /" works.
  rules.allow("/", access::kReadFolder);
  rules.allow(kNamesOfHosts, access::kRead);
  for (const auto path : kSystemUnderRun) rules.allow(path, access::kRead);
  for (const auto& path : view.visible) {
    const bool is_closed = std::any_of(closed.begin(), closed.end(), [&](const auto& c) { return is_within(path, c); });
    if (is_closed && std::find(view.hidden.begin(), view.hidden.end(), path) == view.hidden.end()) {
      allow_reading(rules, path, view.hidden);
    }
  }
  const auto written = written_without_mounts(view);
  for (const auto& path : written) rules.allow_exactly(path, access::kAll);
  for (const auto& path : view.writable) {
    if (std::find(written.begin(), written.end(), path) == written.end()) allow_reading(rules, path, view.hidden);
  }
  for (const char* path : kDevices) rules.allow(path, access::kAll);
  if (!terminal.empty()) rules.allow(terminal, access::kAll);
  return rules;
}

std::vector<fs::path> folders_without_making(const FileView& view) {
  std::vector<fs::path> out;
  if (landlock_abi() < kLeastAbi) return out;
  for (const auto path : kPrivateFolders) {
    if (any_within(view.reserving, path)) out.emplace_back(path);
  }
  for (const auto& path : view.writable) {
    if (any_within(view.reserving, path)) out.push_back(path);
  }
  return out;
}

std::optional<Landlock> writing_rules_for(const FileView& view) {
  if (landlock_abi() == 0) return std::nullopt;
  // Before that it could not move a file from one folder to another any more.
  if (landlock_abi() < kLeastAbi) return Landlock(access::kNothing, Landlock::Scope::sockets_and_signals);
  Landlock rules(access::kWrite, Landlock::Scope::sockets_and_signals);
  const auto supervised = folders_without_making(view);
  const auto rights_in = [&](const fs::path& folder) {
    const bool makes = std::find(supervised.begin(), supervised.end(), folder) == supervised.end();
    return makes ? access::kAll : access::kAll & ~access::kMake;
  };
  for (const auto path : kPrivateFolders) rules.allow(path, rights_in(path));  // private here
  for (const auto& path : view.writable) rules.allow_exactly(path, rights_in(path));
  for (int fd = 0; fd <= 2; ++fd) {
    if ((::fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY) {
      rules.allow("/proc/self/fd/" + std::to_string(fd), access::kWriteFile | access::kTruncate);
    }
  }
  return rules;
}

}  // namespace agentvault::sandbox
