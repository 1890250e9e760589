// A FileView by Landlock. It gives rights to a folder and all that is in it, and takes
// none back: what a view hides or protects inside of a writable folder stays as the user has it.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "sandbox/file_view.hpp"
#include "sandbox/landlock.hpp"

namespace agentvault::sandbox {

/// What renaming across folders needs (LANDLOCK_ACCESS_FS_REFER).
inline constexpr int kLeastAbi = 2;

/// Throws Error(usage) when one of these lies in a folder that the view lets be written.
void check_without_mounts(const FileView& view, const std::vector<std::filesystem::path>& must_be_hidden);

/// Notes what the view hides, and this cannot: files in the working directory.
void note_what_stays_open(FileView& view);

/// What the rules below let be written as a whole: a folder that holds something hidden is only read.
std::vector<std::filesystem::path> written_without_mounts(const FileView& view);

/// For whoever is going to enter them: the files of the view, signals and abstract sockets, too. They can be made long
/// before. Throws Error(failed).
/// `terminal` is the agent's own, "" when it has none.
Landlock rules_for(const FileView& view, const std::string& terminal);

/// Inside of namespaces: the folders that hold one in which names are reserved. Rights cannot be taken away from a part
/// of a folder, so the supervisor makes every new file in them (creation_supervisor.hpp). None where Landlock is too
/// old to enforce that.
std::vector<std::filesystem::path> folders_without_making(const FileView& view);

/// Inside of namespaces, where mounts do the rest: nothing but what the view lets be written is written through a
/// descriptor from outside either. A standard stream can be opened again as it is open. Nothing new is made in the
/// folders below. None without Landlock.
std::optional<Landlock> writing_rules_for(const FileView& view);

}  // namespace agentvault::sandbox
