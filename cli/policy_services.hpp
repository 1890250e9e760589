// What the rules of policies are rules of: the credentials of the vault, and those that the policies name besides.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "arguments.hpp"
#include "judgement.hpp"
#include "policy/comparison.hpp"
#include "policy/document.hpp"
#include "store/database.hpp"

namespace agentvault::cli {

struct Service {
  policy::Place place;
  std::vector<policy::Rule> preset;
  std::string where{};     // " at HOST", where several are possible
  std::string provider{};  // "": it is not in the vault
};
using Services = std::multimap<std::string, Service>;

/// Those of the vault. Others that the policies name may be stored anywhere, whatever a preset of that name says: each
/// stands there once for every host that rules tell apart.
/// `also`: one more name, or "". Rules that name no credential are also about "any", which may be added any day.
Services services_for(const Arguments& a, const std::vector<const policy::Document*>& documents,
                      const std::string& also = "");

/// The vault's credentials; and for a policy's own tests those that it names besides, as presets of their names have
/// them.
std::vector<Candidate> candidates_of(const store::Snapshot& snapshot);
std::vector<Candidate> candidates_for_tests(const Arguments& a, const policy::Document& document);

/// An agent that is not named (null) has nothing, but for the one that always exists.
std::vector<policy::Rule> rules_of(const policy::AgentPolicy* agent, const std::string& name,
                                   const std::string& credential, const Service& service);

/// All that are named, and the one that always exists.
std::set<std::string> agents_in(const std::vector<const policy::Document*>& documents);

}  // namespace agentvault::cli
