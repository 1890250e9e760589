// `exec --take`: keys out of exec's own environment, for a session without a vault.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "broker/session_state.hpp"
#include "keys/vault_paths.hpp"

namespace agentvault::cli {

/// Moves the variables out of the environment, wipes them there, and binds each to what its preset says. Throws
/// Error(usage) for a variable that is not set or that no preset knows.
std::vector<broker::Grant> take_keys(const std::vector<std::string>& variables);

/// A folder for a session that has no vault; with everything in it gone on destruction.
class ThrowAwayFolder {
 public:
  ThrowAwayFolder();
  ~ThrowAwayFolder();
  ThrowAwayFolder(const ThrowAwayFolder&) = delete;
  ThrowAwayFolder& operator=(const ThrowAwayFolder&) = delete;
  keys::VaultPaths paths() const { return {folder_}; }

 private:
  std::filesystem::path folder_;
};

}  // namespace agentvault::cli
