// What would become of a request, by the policy and the budgets that an agent has: for "policy explain", and for the
// tests that policies have in their files.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "http/fields.hpp"
#include "policy/document.hpp"
#include "provider/binding.hpp"
#include "provider/metering.hpp"

namespace agentvault::cli {

/// A credential that could go with it.
struct Candidate {
  std::string name;
  provider::Binding binding;
  provider::Metering metering{};
};

struct AskedRequest {
  std::string method;
  std::string url;
  std::string credential;  // "": the one that is bound to its host
  http::Fields fields;
  std::optional<std::string> body;
};

struct Verdict {
  policy::Effect effect = policy::Effect::deny;
  std::string reason;
  std::string rule{};        // that decided
  std::string credential{};  // that goes with it
  std::string judged{};      // the request as it is judged: in its normal form, or the tunnel that it goes through
};

/// `agent`: null without a policy. Throws Error(usage) for what is no request, or of no one candidate, and
/// Error(not_found) for a credential that there is not.
Verdict judge(const AskedRequest& asked, const policy::AgentPolicy* agent, const std::vector<Candidate>& candidates,
              const policy::History& history = {});

/// One line for each test of a policy that says something else than becomes of its request.
std::vector<std::string> failed_tests(const policy::Document& document, const std::vector<Candidate>& candidates);

}  // namespace agentvault::cli
