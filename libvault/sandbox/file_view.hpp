// Which files an agent sees, and which it may change. An allow-list for writing; for reading everything but what is
// known to hold credentials.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace agentvault::sandbox {

struct FileRequest {
  std::filesystem::path working_directory;
  std::filesystem::path home;                // of the agent: its HOME
  std::vector<std::string> command;          // its first word is looked up in `search_path` when it has no slash
  std::string search_path;                   // PATH
  std::vector<std::filesystem::path> hide;   // the vault, and what the user names besides
  std::vector<std::filesystem::path> write;  // what the user names
  std::vector<std::filesystem::path> share;  // hidden ones that the user opens
  std::filesystem::path vault_as_named;      // with the links that lead to it
};

/// All paths are canonical and, but for `missing` and `given_back`, exist.
struct FileView {
  std::filesystem::path home;
  std::filesystem::path working_directory;
  bool working_directory_writable = true;
  std::vector<std::filesystem::path> writable;
  /// Inside of these: what programs outside run or obey later.
  std::vector<std::filesystem::path> read_only;
  std::vector<std::filesystem::path> hidden;
  /// Where names that programs outside obey are not made either; git's own folders, for which there are others; paths
  /// that links and configuration of git's lead to and that are missing; and what of it all the user lets be made.
  std::vector<std::filesystem::path> reserving;
  std::vector<std::filesystem::path> git_folders;
  std::vector<std::filesystem::path> missing;
  std::vector<std::filesystem::path> given_back;
  /// Whatever is made private or hidden around them.
  std::vector<std::filesystem::path> visible;
  /// Variables for tools whose usual cache would have to be made first, and cannot be.
  std::vector<std::string> environment;  // "%/" stands for the private temporary folder
  std::vector<std::string> notes;        // for the person: what was made, what could not be done
};

/// Throws Error(usage) for a path of the user's that does not exist or that an agent can have led elsewhere, and
/// Error(failed) without a working directory.
FileView view_of(const FileRequest& request);

/// For a person: what is written, shown, and of the project hidden or kept, without links.
std::vector<std::string> summary_of(const FileView& view);

/// Whether `path` is `folder`, or under it.
bool is_within(const std::filesystem::path& path, const std::filesystem::path& folder);

}  // namespace agentvault::sandbox
