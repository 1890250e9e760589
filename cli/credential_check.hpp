// What a credential must be like, whether it is typed or comes out of a backup.
#pragma once

#include <string>
#include <vector>

#include "base/secret_bytes.hpp"
#include "provider/binding.hpp"

namespace agentvault::cli {

inline constexpr std::size_t kMaxSecret = 64 * 1024;

/// Throws Error(usage) for a name that no token may be put into.
void check_variables(const std::vector<std::string>& names);

/// Throws Error(usage) for a secret that its injection cannot carry; warns of one that responses cannot be searched
/// for.
void check_secret(const SecretBytes& secret, const provider::Binding& binding, const std::string& name);

}  // namespace agentvault::cli
