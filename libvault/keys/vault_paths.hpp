// Where things lie in a vault directory. The directory is 0700 and belongs to the user; everything in it is 0600.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace agentvault::keys {

struct VaultPaths {
  std::filesystem::path directory;
  /// As it was named, where links may lead there. Empty: as `directory`.
  std::filesystem::path named = {};

  /// For people: the folder's own name, where it is reached through a descriptor.
  std::filesystem::path shown() const;
  std::filesystem::path database() const { return directory / "vault.db"; }
  std::filesystem::path lock() const { return directory / "vault.lock"; }
  std::filesystem::path tpm() const { return directory / "tpm"; }
  std::filesystem::path sessions() const { return directory / "sessions"; }
  std::filesystem::path audit() const { return directory / "audit"; }
  std::filesystem::path budgets() const { return directory / "budgets"; }
  std::filesystem::path budget(const std::string& agent) const { return budgets() / agent; }
  /// Of which something was counted.
  std::vector<std::string> counted_agents() const;

  /// Throws Error(not_found) without the folder, Error(failed) when it belongs to somebody else. Takes away permissions
  /// that others have, and gives back the owner's own: without them no session could be told to stop.
  void check_directory() const;
  /// Besides that, throws Error(not_found) where the folder holds no vault.
  void check() const;
};

}  // namespace agentvault::keys
