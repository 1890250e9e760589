// The group that a system-wide installation gives the program (mode 2755). It alone opens the folder in which all
// vaults lie, and the TPM: other programs of the same user reach neither (cmake/package).
//
// It has effect only while a WithInstalledGroup lives: around the database's files, the TPM's device, and the making of
// a vault. Everything else, files that a user names above all, is done with the user's own rights. Processes that run
// on give it up for good, and those that are not the vault's own leave its folder first. Without such an installation
// all of this does nothing.
//
// Every process of ours is undumpable from the first line of main (make_undumpable): the user's other programs can
// neither trace it nor follow its descriptors through /proc, whatever groups it has or has given up.
#pragma once

#include <filesystem>

namespace agentvault {

class InstalledGroup {
 public:
  /// First of all in main. Also takes variables out of the environment that libraries would obey with the group's
  /// rights.
  static void begin();
  /// Whether the program was started with it, given up since or not.
  static bool in_use();
  /// For good. What this process starts from then on has never had it. The vault's folder stays held.
  static void give_up();
  /// Closes the vault's folder. For a process that has no business there: before it does anything else.
  static void let_go_of_vault();

  /// Holds the user's own folder under `folder`: it is reached through a descriptor, whatever rights are left. Empty
  /// when there is none yet: then its ordinary path.
  static std::filesystem::path hold_vault(const std::filesystem::path& folder);
  /// That descriptor, or -1.
  static int held();
};

class WithInstalledGroup {
 public:
  WithInstalledGroup();
  ~WithInstalledGroup();
  WithInstalledGroup(const WithInstalledGroup&) = delete;
  WithInstalledGroup& operator=(const WithInstalledGroup&) = delete;

 private:
  bool raised_ = false;
};

}  // namespace agentvault
