// What is sound in a policy, and still hardly meant.
#pragma once

#include <string>
#include <vector>

#include "policy_services.hpp"

namespace agentvault::cli {

/// One sentence for each: a misspelt agent, hosts that no credential is for, paths that look like regular expressions,
/// a rule without effect, questions that leave everything else allowed, money for what has no prices.
std::vector<std::string> remarks_on(const policy::Document& document, const Services& services);

}  // namespace agentvault::cli
