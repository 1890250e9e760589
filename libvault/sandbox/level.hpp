// How far a session keeps its agent in. What each level denies is the table in SECURITY.md.
#pragma once

#include <optional>
#include <string_view>

namespace agentvault::sandbox {

enum class Level {
  off,       // nothing
  standard,  // Landlock and system call filters
  strict,    // namespaces besides
};

std::string_view name_of(Level level);
std::optional<Level> level_named(std::string_view name);

}  // namespace agentvault::sandbox
