// Diagnostics for the person who runs the program, on stderr. Never a secret, never bytes an agent or an upstream chose
// without printable(). Levels: error, warning, info, debug; the default is warning.
#pragma once

#include <string>

namespace agentvault::log {

/// Throws Error(usage) for an unknown level.
void set_level(const std::string& level);
void warning(const std::string& message);
void debug(const std::string& message);

}  // namespace agentvault::log
