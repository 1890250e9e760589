// Coding agents: what each keeps about itself in a home, and what of that is run or obeyed later. Only the agent that a
// session starts sees its own; a hidden log-in or hook of another's is neither read nor changed.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace agentvault::sandbox {

/// Paths are relative to HOME.
struct KnownAgent {
  std::string_view name;  // for people
  /// As a person calls it; npm packages of "npx PACKAGE" are among them.
  std::span<const std::string_view> programs;
  /// Files and folders that are its own. Written by itself, hidden from everybody else.
  std::span<const std::string_view> state;
  /// Folders of these that it has to be able to make at its first start: made for it.
  std::span<const std::string_view> first;
  /// What programs are started by or obey later: settings, hooks, commands, instructions. Not changed without --write.
  /// Files that the agent itself rewrites in its ordinary work are not among them, or it would not start: Codex'
  /// config.toml, ~/.claude.json and so on (SECURITY.md).
  std::span<const std::string_view> kept;
};

std::span<const KnownAgent> known_agents();

/// Those that a command line starts, also through a shell, env, timeout, npx and the like. What the shell reads from a
/// file is not looked into.
std::vector<const KnownAgent*> agents_started_by(const std::vector<std::string>& command);

}  // namespace agentvault::sandbox
