// Lists of canonical paths, as a FileView has them.
#pragma once

#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

namespace agentvault::sandbox {

/// Nothing when there is nothing there.
std::optional<std::filesystem::path> real_path(const std::filesystem::path& path);

/// What it leads to, once; not what is missing.
void add(std::vector<std::filesystem::path>& list, const std::filesystem::path& path);

/// As it is: a path that was resolved before is not resolved once more, or a link that came since would be followed.
void add_resolved(std::vector<std::filesystem::path>& list, const std::filesystem::path& path);

/// Where an agent can write, or could before, a link is not followed: it would lead the walls to where it likes. The
/// folder is canonical.
template <class Names>
void add_all_but_links(std::vector<std::filesystem::path>& list, const std::filesystem::path& folder,
                       const Names& names) {
  for (const std::string_view name : names) {
    if (real_path(folder / name) == folder / name) add(list, folder / name);
  }
}

}  // namespace agentvault::sandbox
