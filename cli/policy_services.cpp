#include "policy_services.hpp"

#include <algorithm>

#include "provider/binding.hpp"
#include "provider/preset.hpp"
#include "session/governance.hpp"
#include "store/database.hpp"

namespace agentvault::cli {
namespace {

using policy::AgentPolicy;
using policy::Document;

/// Every rule's host tells something about a service of which nobody knows where it is.
std::vector<std::string> hosts_in(const std::vector<const Document*>& documents) {
  std::vector<std::string> hosts;
  for (const auto* document : documents) {
    for (const auto& agent : document->agents) {
      for (const auto& rule : agent.rules) hosts.insert(hosts.end(), rule.hosts.begin(), rule.hosts.end());
    }
  }
  return hosts;
}

}  // namespace

Services services_for(const Arguments& a, const std::vector<const Document*>& documents, const std::string& also) {
  Services services;
  if (std::filesystem::exists(a.paths_of_vault().database())) {
    for (const auto& row : store::Database::open(a.paths_of_vault().database()).newest().credentials) {
      auto binding = provider::Binding::from_json(row.binding);
      services.insert({row.name,
                       {{row.name, binding.origin.host, binding.base, binding.opaque_slashes},
                        std::move(binding.rules),
                        "",
                        binding.provider}});
    }
  }
  const auto presets = provider::Presets::load(provider::preset_folder());
  const auto add = [&](const std::string& name) {
    if (services.contains(name)) return;
    const auto* preset = presets.find(name);
    const auto binding = preset != nullptr ? preset->binding : provider::Binding();
    auto hosts = policy::hosts_told_apart(hosts_in(documents));
    const bool told = hosts.size() > 1;
    if (!told && !binding.origin.host.empty()) hosts = {binding.origin.host};
    for (const auto& host : hosts) {
      services.insert({name, {{name, host, "", binding.opaque_slashes}, binding.rules, told ? " at " + host : "", ""}});
    }
  };
  for (const auto* document : documents) {
    for (const auto& agent : document->agents) {
      for (const auto& name : agent.credentials.value_or(std::vector<std::string>())) add(name);
      for (const auto& rule : agent.rules) std::for_each(rule.credentials.begin(), rule.credentials.end(), add);
    }
  }
  if (!also.empty() && presets.find(also) != nullptr) add(also);
  add("any");
  return services;
}

std::vector<Candidate> candidates_of(const store::Snapshot& snapshot) {
  const auto presets = provider::Presets::load(provider::preset_folder());
  std::vector<Candidate> candidates;
  for (const auto& row : snapshot.credentials) {
    auto binding = provider::Binding::from_json(row.binding);
    const auto* preset = presets.find(binding.provider);
    candidates.push_back({row.name, std::move(binding), preset != nullptr ? preset->metering : provider::Metering()});
  }
  return candidates;
}

std::vector<Candidate> candidates_for_tests(const Arguments& a, const Document& document) {
  std::vector<Candidate> candidates;
  if (std::filesystem::exists(a.paths_of_vault().database())) {
    candidates = candidates_of(store::Database::open(a.paths_of_vault().database()).newest());
  }
  const auto presets = provider::Presets::load(provider::preset_folder());
  const auto add = [&](const std::string& name) {
    const auto has_name = [&](const auto& candidate) { return candidate.name == name; };
    const auto* preset = presets.find(name);
    if (preset == nullptr || std::any_of(candidates.begin(), candidates.end(), has_name)) return;
    candidates.push_back({name, preset->binding, preset->metering});
  };
  for (const auto& agent : document.agents) {
    for (const auto& name : agent.credentials.value_or(std::vector<std::string>())) add(name);
    for (const auto& rule : agent.rules) std::for_each(rule.credentials.begin(), rule.credentials.end(), add);
  }
  for (const auto& test : document.tests) add(test.credential);
  return candidates;
}

std::vector<policy::Rule> rules_of(const AgentPolicy* agent, const std::string& name, const std::string& credential,
                                   const Service& service) {
  if (agent == nullptr && name != session::kDefaultAgent) return {};
  if (agent != nullptr && !agent->grants(credential)) return {};
  return policy::rules_for(agent, credential, service.preset);
}

std::set<std::string> agents_in(const std::vector<const Document*>& documents) {
  std::set<std::string> names{session::kDefaultAgent};
  for (const auto* document : documents) {
    for (const auto& agent : document->agents) names.insert(agent.name);
  }
  return names;
}

}  // namespace agentvault::cli
