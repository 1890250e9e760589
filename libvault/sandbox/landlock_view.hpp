// A FileView by Landlock. It gives rights to a folder and all that is in it, and takes
// none back: what a view hides or protects inside of a writable folder stays as the user has it.
#pragma once

#include <string>
#include <vector>

#include "sandbox/file_view.hpp"

namespace agentvault::sandbox {

/// What renaming across folders needs (LANDLOCK_ACCESS_FS_REFER).
inline constexpr int kLeastAbi = 2;

/// Throws Error(usage) when one of these lies in a folder that the view lets be written.
void check_without_mounts(const FileView& view, const std::vector<std::filesystem::path>& must_be_hidden);

/// From here on this process and whatever it starts, for signals and abstract sockets, too. `readable_files`: in
/// folders that are hidden. Throws Error(failed).
void enforce_view(const FileView& view, const std::vector<std::string>& readable_files);

/// Inside of namespaces, where mounts do the rest: nothing but what the view lets be written is written through a
/// descriptor from outside either. A standard stream can be opened again as it is open. Nothing without Landlock.
void enforce_writing(const FileView& view);

}  // namespace agentvault::sandbox
