// Keys of others in the user's environment: the agent gets none of them unasked.
#pragma once

#include <string_view>

namespace agentvault::session {

/// By its name (every one that a preset names, and those made like them), or by its value: a known key's shape, a URL
/// with a password, a private key.
bool holds_a_key(std::string_view name, std::string_view value);

}  // namespace agentvault::session
