#include "sandbox/level.hpp"

#include <array>
#include <utility>

namespace agentvault::sandbox {
namespace {

constexpr std::array<std::pair<Level, std::string_view>, 3> kNames{
    {{Level::off, "off"}, {Level::standard, "standard"}, {Level::strict, "strict"}}};

}  // namespace

std::string_view name_of(Level level) {
  for (const auto& [candidate, name] : kNames) {
    if (candidate == level) return name;
  }
  return "";
}

std::optional<Level> level_named(std::string_view name) {
  for (const auto& [level, candidate] : kNames) {
    if (candidate == name) return level;
  }
  return std::nullopt;
}

}  // namespace agentvault::sandbox
