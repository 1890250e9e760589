// Completion scripts, written from the parser's own command tree.
#pragma once

#include <string>

#include "arguments.hpp"

namespace agentvault::cli {

/// For "bash", "zsh" or "fish". Throws Error(usage) for another shell.
std::string completion_script(const std::string& shell, const CommandShape& shape);

}  // namespace agentvault::cli
