// Policy files as the command line names them.
#pragma once

#include <filesystem>
#include <string>

#include "policy/document.hpp"

namespace agentvault::cli {

struct PolicyFile {
  std::filesystem::path path;  // its folder canonical, its own name as it is: a link is judged by where it stands
  std::string text;            // what was judged
  policy::Document document;
};

/// "": the nearest agentvault.toml above this folder. Throws Error(not_found), Error(usage) with line and column.
PolicyFile read_policy_file(const std::string& name);

/// The same path for a file that may be gone.
std::filesystem::path policy_file_path(const std::string& name);

/// The folder that this process is in, canonical.
std::filesystem::path current_folder();

}  // namespace agentvault::cli
