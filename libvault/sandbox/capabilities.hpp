// Capabilities (capabilities(7)) of this process.
#pragma once

namespace agentvault::sandbox {

/// Gives all of them up, for good: permitted, effective, inheritable, ambient and the bounding set. `but_for` is one
/// that stays, for this program only.
void drop_capabilities(int but_for = -1);

}  // namespace agentvault::sandbox
