#include "sandbox/named_path.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "base/text.hpp"
#include "sandbox/file_view.hpp"
#include "sandbox/known_paths.hpp"

namespace agentvault::sandbox {
namespace {

namespace fs = std::filesystem;

constexpr int kMostLinks = 40;  // as the kernel has it

/// Goes along a path by names, calls for each link, and follows it. Nothing when it leads nowhere.
std::optional<fs::path> walk(const fs::path& path, const std::function<void(const fs::path& link)>& on_link) {
  std::vector<fs::path> rest;
  const auto push = [&](const fs::path& more) {
    std::vector<fs::path> names(more.begin(), more.end());
    rest.insert(rest.end(), names.rbegin(), names.rend());
  };
  std::error_code error;
  push(fs::absolute(path, error));
  fs::path at("/");
  for (int links = 0; !rest.empty();) {
    const fs::path name = rest.back();
    rest.pop_back();
    if (name.empty() || name == ".") continue;
    if (name.is_absolute()) {
      at = "/";
      continue;
    }
    if (name == "..") {
      at = at.parent_path();
      continue;
    }
    const fs::path next = at / name;
    struct stat info {};
    if (::lstat(next.c_str(), &info) != 0) return std::nullopt;
    if (!S_ISLNK(info.st_mode)) {
      at = next;
      continue;
    }
    if (++links > kMostLinks) return std::nullopt;
    on_link(next);
    push(fs::read_symlink(next, error));
    if (error) return std::nullopt;
  }
  return at;
}

/// Where only root writes, a link is the system's.
bool may_be_an_agents(const fs::path& link) {
  const fs::path folder = link.parent_path();
  if (::geteuid() != 0) return ::access(folder.c_str(), W_OK) == 0;
  if (folder == "/" || folder == "/var" || folder == "/home") return false;
  return std::none_of(kSystemFolders.begin(), kSystemFolders.end(),
                      [&](std::string_view system) { return is_within(folder, system); });
}

}  // namespace

fs::path named_path(const fs::path& path, const char* option) {
  const auto real = walk(path, [&](const fs::path& link) {
    if (!may_be_an_agents(link)) return;
    std::error_code error;
    throw Error(ErrorKind::usage,
                std::string(option) + ": " + printable(link.string()) +
                    " is a symbolic link, which an agent can have made, to " +
                    printable(fs::read_symlink(link, error).string()),
                "name the file itself, if that is what you mean");
  });
  if (!real) {
    throw Error(ErrorKind::usage, std::string(option) + ": there is no " + printable(path.string()),
                "name a file or folder that exists");
  }
  return *real;
}

std::vector<fs::path> links_on_the_way_to(const fs::path& path) {
  std::vector<fs::path> links;
  walk(path, [&](const fs::path& link) { links.push_back(link); });
  return links;
}

}  // namespace agentvault::sandbox
