// Which policy counts for a session: the nearest project file above its folder that is trusted for its agent, else the
// one that was applied to the vault, else what the presets allow.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "policy/document.hpp"
#include "store/database.hpp"

namespace agentvault::session {

inline constexpr const char* kPolicyFile = "agentvault.toml";
inline constexpr const char* kDefaultAgent = "default";

struct Governance {
  std::string path;                          // of the trusted file; "": the applied policy, or none
  std::string text;                          // "": none
  std::optional<policy::AgentPolicy> agent;  // nothing: what the presets allow

  /// For people: "presets", "the vault's policy", or the file's path.
  std::string source() const;
  bool operator==(const Governance& other) const { return path == other.path && text == other.text; }
};

/// `folder` is canonical. Throws Error(not_found) for an agent that no policy names, Error(integrity) for a stored
/// policy that cannot be read.
Governance governance_of(const std::vector<store::PolicyRow>& policies, const std::string& agent,
                         const std::filesystem::path& folder);

/// The nearest policy file above a folder, trusted or not; "" when there is none.
std::filesystem::path nearest_policy_file(const std::filesystem::path& folder);

/// Whether the file holds exactly what was trusted. What is no regular file (an agent could put a pipe there) does not.
bool is_as_trusted(const store::PolicyRow& row);

/// What a person should know of it: "" when it is the one that counts, as it stands there.
std::string remark_on_policy_file(const std::filesystem::path& folder, const std::string& agent,
                                  const std::vector<store::PolicyRow>& policies);

}  // namespace agentvault::session
