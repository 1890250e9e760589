// What running sessions are told when the vault's policies change. Under a MAC of the session's own key, which only an
// opener and its session ever had: whoever reaches the control socket can take away, but not give.
//
// Form, in the canonical form of base/bytes.hpp: text "agentvault announcement 1", epoch u64, sequence u64, number of
// policies u64, each as path text, agent text, text text; behind it HMAC-SHA-256 of all that (32 bytes).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/secret_bytes.hpp"
#include "keys/vault.hpp"
#include "store/database.hpp"

namespace agentvault::session {

/// Grows with every change of the vault.
using Version = std::pair<std::uint64_t, std::uint64_t>;  // epoch, sequence

struct Announcement {
  Version version;
  std::vector<store::PolicyRow> policies;
};

Bytes write_announcement(const Announcement& announcement, const SecretBytes& key);
/// Nothing when it is not under this key.
std::optional<Announcement> read_announcement(ByteView bytes, const SecretBytes& key);

/// Tells the running sessions what the vault holds, and notes that they know. Returns when each has obeyed, is gone, or
/// was ended because it did not answer; names the ended ones. `except` is not told: it reads the vault itself.
std::vector<std::string> announce_policies(keys::Vault& vault, const keys::VaultPaths& paths,
                                           const std::string& except = "");

}  // namespace agentvault::session
