// What git obeys in the folders of a project: repositories, worktrees and submodules, and the files that their
// configuration names.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "sandbox/file_view.hpp"

namespace agentvault::sandbox {

/// A folder of git's, whatever it is called.
bool is_repository(const std::filesystem::path& git);

/// Folders outside of the working directory that its repository is in, or shares; with the folder itself.
std::vector<std::filesystem::path> git_folders_of(std::filesystem::path folder);

/// Makes read-only what git obeys in one of its folders, in those of other worktrees, and in all of its submodules'.
/// `tree`: its working tree, where that is not the folder around it.
void protect_git_folder(const std::filesystem::path& git, FileView& view, const std::filesystem::path& tree = {});

/// What this path leads to is not changed, or not made where it is missing, if it is the agent's to write; nor are
/// links on the way made anew.
void keep_path(const std::filesystem::path& path, FileView& view);

/// A .git file or link in `folder`, which leads to a repository inside of the project: that one is protected, too.
void protect_git_entry(const std::filesystem::path& entry, FileView& view);

/// What in a repository that an agent made (its .git, a folder or a file) has git run programs: the name of a setting
/// that is not known to be harmless, or of a hook. Nothing when there is none.
std::optional<std::string> runs_programs(const std::filesystem::path& entry);

}  // namespace agentvault::sandbox
