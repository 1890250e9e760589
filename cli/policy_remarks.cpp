#include "policy_remarks.hpp"

#include <algorithm>
#include <utility>

#include "base/text.hpp"
#include "provider/preset.hpp"
#include "session/governance.hpp"

namespace agentvault::cli {
namespace {

using policy::AgentPolicy;
using policy::Effect;
using policy::Rule;

/// How many letters are changed, left out, or too many (Levenshtein).
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, changed}));
    }
  }
  return row[b.size()];
}

bool looks_like_a_regex(const std::string& pattern) {
  return pattern.find(".*") != std::string::npos || pattern.find_first_of("^$\\|(") != std::string::npos ||
         pattern.find("[^") != std::string::npos || pattern.find("+/") != std::string::npos || pattern.ends_with('+');
}

std::string rule_at(const Rule& rule) {
  return "line " + std::to_string(rule.line);
}

class Remarks {
 public:
  explicit Remarks(const Services& services) : services_(services) {}

  void look_at(const AgentPolicy& agent) {
    const std::string usual = session::kDefaultAgent;
    if (agent.name != usual && distance(agent.name, usual) <= 2) {
      add("the agent " + agent.name + " is only used with --agent " + agent.name + ": is \"" + usual + "\" meant?");
    }
    for (const auto& rule : agent.rules) look_at(rule);
    look_for_lone_questions(agent);
    look_for_rules_without_effect(agent);
    look_at_money(agent);
  }
  std::vector<std::string> take() { return std::move(found_); }

 private:
  void add(std::string text) { found_.push_back(std::move(text)); }

  void look_at(const Rule& rule) {
    for (const auto& pattern : rule.paths) {
      if (!looks_like_a_regex(pattern.text())) continue;
      add(rule_at(rule) + ": the path " + printable(pattern.text()) +
          " is no regular expression: * is any run of characters in one segment, ** one or more segments");
    }
    if (rule.effect == Effect::allow && !rule.graphql.names.empty() && rule.graphql.fields.empty()) {
      add(rule_at(rule) + ": whoever sends a GraphQL request chooses the names of its operations: give fields, too");
    }
    for (const auto& name : rule.credentials) {
      const auto found = services_.find(name);
      if (rule.hosts.empty() || found == services_.end() || found->second.provider.empty()) continue;
      if (rule.has_host(found->second.place.host)) continue;
      add(rule_at(rule) + ": the credential " + name + " is for " + found->second.place.host + ", never for " +
          join(rule.hosts, ", "));
    }
  }

  void look_for_lone_questions(const AgentPolicy& agent) {
    const auto any = [&](Effect effect) {
      return std::any_of(agent.rules.begin(), agent.rules.end(),
                         [&](const Rule& rule) { return rule.effect == effect; });
    };
    if (!any(Effect::approve) || any(Effect::allow)) return;
    add("the agent " + agent.name +
        " is only asked about some requests: without a rule that allows, all else that the "
        "presets allow goes on unasked");
  }

  void look_for_rules_without_effect(const AgentPolicy& agent) {
    for (std::size_t i = 0; i < agent.rules.size(); ++i) {
      if (agent.rules[i].effect != Effect::allow) continue;
      AgentPolicy without = agent;
      without.rules.erase(without.rules.begin() + static_cast<std::ptrdiff_t>(i));
      const bool others_allow = std::any_of(without.rules.begin(), without.rules.end(),
                                            [](const Rule& rule) { return rule.effect == Effect::allow; });
      if (!others_allow) continue;  // then presets count in its place
      if (widens_nothing(without, agent, agent.rules[i])) {
        add(rule_at(agent.rules[i]) + ": the rule allows nothing that another one does not allow or deny already");
      }
    }
  }

  bool widens_nothing(const AgentPolicy& without, const AgentPolicy& with, const Rule& rule) const {
    bool concerns_any = false;
    for (const auto& [credential, service] : services_) {
      if (!rule.concerns(credential) || !with.grants(credential) || !rule.has_host(service.place.host)) continue;
      concerns_any = true;
      const auto comparison = policy::widenings(rules_of(&without, without.name, credential, service),
                                                rules_of(&with, with.name, credential, service), service.place);
      if (!comparison.complete || !comparison.widened.empty()) return false;
    }
    return concerns_any;
  }

  void look_at_money(const AgentPolicy& agent) {
    const auto has_prices = [](const Service& service) {
      return !provider::metering_of(service.provider, provider::preset_folder()).prices.empty();
    };
    bool any = false, known = false;
    for (const auto& [name, service] : services_) {
      if (service.provider.empty() || !agent.grants(name)) continue;
      const bool priced = has_prices(service);
      const auto own = agent.credential_budgets.find(name);
      if (own != agent.credential_budgets.end() && own->second.microusd_per_day && !priced) {
        add("money is limited for " + name + ", and its preset (" + service.provider +
            ") knows no prices: nothing is counted");
      }
      known = true;
      any = any || priced;
    }
    if (known && !any && agent.budget.microusd_per_day) {
      add("money is limited for the agent " + agent.name + ", and the presets of its credentials know no prices");
    }
  }

  const Services& services_;
  std::vector<std::string> found_;
};

}  // namespace

std::vector<std::string> remarks_on(const policy::Document& document, const Services& services) {
  Remarks remarks(services);
  for (const auto& agent : document.agents) remarks.look_at(agent);
  return remarks.take();
}

}  // namespace agentvault::cli
