// The cell of a session, at the level that was asked for.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sandbox/cell.hpp"

namespace agentvault::session {

struct Isolation {
  sandbox::Level level;
  std::unique_ptr<sandbox::Cell> cell;
  std::string note;  // why it is not a stronger one; "" when it is
};

/// At that level and no other; without one, the strongest that can be set up here, but not `off`. Throws Error(failed)
/// that names what is missing, and what can be done.
Isolation isolate(sandbox::CellRequest request, std::optional<sandbox::Level> level);

/// A level's name; "auto" is none. Throws Error(usage).
std::optional<sandbox::Level> parse_isolation(const std::string& name);

/// Whether a level can be set up here, by doing it.
struct LevelCheck {
  sandbox::Level level;
  std::string problem;  // "": it can
  std::string limits;   // what it lacks all the same; "" when nothing
};
std::vector<LevelCheck> check_levels();

}  // namespace agentvault::session
