// The one walk through a project: files that hold keys are hidden, names that programs outside obey are kept, and so is
// what git obeys in its repositories.
#pragma once

#include <filesystem>

#include "sandbox/file_view.hpp"

namespace agentvault::sandbox {

/// All folders but those of git and node_modules, level by level. Where the project is larger than is searched, a note
/// says so. Throws Error(denied) when there are more such files than can be covered.
void search_project(const std::filesystem::path& project, FileView& view);

}  // namespace agentvault::sandbox
