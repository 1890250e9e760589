// Paths that a person or a policy names. Links on the way are followed only where no agent can have made them: else a
// first session could plant one, and the next session's --share or --write would open what it leads to.
#pragma once

#include <filesystem>
#include <vector>

namespace agentvault::sandbox {

/// Without links from there on. Throws Error(usage), which calls the path as `option` names it, when there is no such
/// file, and when a link could be an agent's.
std::filesystem::path named_path(const std::filesystem::path& path, const char* option);

/// Every symbolic link on the way to a path.
std::vector<std::filesystem::path> links_on_the_way_to(const std::filesystem::path& path);

}  // namespace agentvault::sandbox
