// Capabilities (capabilities(7)) of this process.
#pragma once

#include <initializer_list>

namespace agentvault::sandbox {

/// Gives all of them up, for good: permitted, effective, inheritable, ambient and the bounding set. `but_for` stay,
/// for this program only.
void drop_capabilities(std::initializer_list<int> but_for = {});

}  // namespace agentvault::sandbox
