// What a session runs under: the command line and the agent's policy together. What was said on the command line counts
// first, lists add up.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <vector>

#include "policy/egress.hpp"
#include "sandbox/level.hpp"
#include "session/exec.hpp"
#include "session/governance.hpp"

namespace agentvault::session {

struct Terms {
  policy::Egress egress;
  std::optional<sandbox::Level> isolation;  // nothing: auto
  std::vector<std::filesystem::path> writes;
  std::vector<std::filesystem::path> shares;
  std::vector<std::string> keeps;
  std::vector<net::Authority> reaches;
  std::vector<std::uint16_t> publishes;
  std::chrono::seconds ttl;
  std::chrono::seconds max_lifetime;
};

/// Paths of a policy are relative to its file; "~/" is the agent's home.
Terms terms_of(const ExecRequest& request, const Governance& governance);

/// As terms_of() says, for a session that has these services in reach.
policy::Egress egress_of(const ExecRequest& request, const Governance& governance,
                         const std::vector<net::Authority>& reaches);

/// Of "NAME=value" entries; "" without.
std::string variable(const std::vector<std::string>& environment, const std::string& name);

}  // namespace agentvault::session
