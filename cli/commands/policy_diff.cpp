// What a new policy would permit that an old one does not, and whether a policy can ever permit something.
#include <algorithm>
#include <cstdio>
#include <limits>
#include <set>

#include "base/error.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "output.hpp"
#include "policy/comparison.hpp"
#include "policy_file.hpp"
#include "policy_services.hpp"
#include "session/governance.hpp"
#include "terminal.hpp"

namespace agentvault::cli {
namespace {

using policy::AgentPolicy;
using policy::Document;

std::string word(policy::Effect effect) {
  return effect == policy::Effect::allow ? "allowed" : effect == policy::Effect::approve ? "asked" : "denied";
}

void add_incomplete(const std::string& name, const std::string& what, std::vector<Record>& records) {
  records.push_back({{"agent", name},
                     {"what", what},
                     {"was", "?"},
                     {"becomes", "?"},
                     {"example", "not all combinations of these rules can be tried: there may be more"},
                     {"by", ""}});
}

void compare_rules(const std::string& name, const AgentPolicy* old, const AgentPolicy* fresh, const Services& services,
                   std::vector<Record>& records) {
  for (const auto& [credential, service] : services) {
    const auto before = rules_of(old, name, credential, service);
    const auto after = rules_of(fresh, name, credential, service);
    if (before == after) continue;
    const auto comparison = policy::widenings(before, after, service.place);
    for (const auto& found : comparison.widened) {
      records.push_back({{"agent", name},
                         {"what", credential + service.where},
                         {"was", word(found.before)},
                         {"becomes", word(found.after)},
                         {"example", found.example.text()},
                         {"by", found.rule}});
    }
    if (!comparison.complete) add_incomplete(name, credential + service.where, records);
  }
}

policy::Reach reach_of(const AgentPolicy* agent, const std::string& name) {
  if (agent == nullptr && name != session::kDefaultAgent) return {policy::Egress::listing({}), {}};
  if (agent == nullptr) return {};
  return {agent->egress.value_or(policy::Egress()), policy::rules_for(agent, "", {})};
}

void compare_reach(const std::string& name, const AgentPolicy* old, const AgentPolicy* fresh,
                   std::vector<Record>& records) {
  const auto comparison = policy::reach_widenings(reach_of(old, name), reach_of(fresh, name));
  for (const auto& found : comparison.widened) {
    records.push_back({{"agent", name},
                       {"what", "egress"},
                       {"was", word(found.before)},
                       {"becomes", word(found.after)},
                       {"example", found.example.text()},
                       {"by", found.rule}});
  }
  if (!comparison.complete) add_incomplete(name, "egress", records);
}

void add_setting(const std::string& name, const char* what, const std::string& was, const std::string& becomes,
                 std::vector<Record>& records) {
  records.push_back({{"agent", name}, {"what", what}, {"was", was}, {"becomes", becomes}, {"example", ""}, {"by", ""}});
}

template <class T>
void compare_limit(const std::string& name, const char* what, const std::optional<T>& old,
                   const std::optional<T>& fresh, std::vector<Record>& records) {
  if (!old || (fresh && *fresh <= *old)) return;
  add_setting(name, what, std::to_string(*old), fresh ? std::to_string(*fresh) : "no limit", records);
}

void compare_budget(const std::string& name, const policy::BudgetTerms& old, const policy::BudgetTerms& fresh,
                    std::vector<Record>& records) {
  compare_limit(name, "requests a minute", old.requests_per_minute, fresh.requests_per_minute, records);
  compare_limit(name, "requests a day", old.requests_per_day, fresh.requests_per_day, records);
  compare_limit(name, "model tokens a day", old.tokens_per_day, fresh.tokens_per_day, records);
  const auto usd = [](const std::optional<std::uint64_t>& microusd) {
    return microusd ? policy::describe(policy::BudgetTerms{{}, {}, {}, microusd}) : std::string("no limit");
  };
  const auto most = [](const auto& microusd) { return microusd.value_or(std::numeric_limits<std::uint64_t>::max()); };
  if (most(fresh.microusd_per_day) > most(old.microusd_per_day))
    add_setting(name, "money", usd(old.microusd_per_day), usd(fresh.microusd_per_day), records);
}

int walls(const std::string& isolation) {
  return isolation == "off" ? 0 : isolation == "standard" ? 1 : isolation == "strict" ? 3 : 2;
}

template <class List>
void compare_list(const std::string& name, const char* what, const List& old, const List& fresh,
                  std::vector<Record>& records) {
  for (const auto& item : fresh) {
    if (std::find(old.begin(), old.end(), item) == old.end()) add_setting(name, what, "no", item, records);
  }
}

std::vector<std::string> texts(const std::vector<net::Authority>& authorities) {
  std::vector<std::string> out;
  for (const auto& entry : authorities)
    out.push_back(net::bracketed(entry.host) + ":" + std::to_string(entry.port.value_or(0)));
  return out;
}

void compare_settings(const AgentPolicy& old, const AgentPolicy& fresh, std::vector<Record>& records) {
  const auto& name = fresh.name;
  if (walls(fresh.isolation) < walls(old.isolation)) {
    add_setting(name, "isolation", old.isolation.empty() ? "auto" : old.isolation,
                fresh.isolation.empty() ? "auto" : fresh.isolation, records);
  }
  if (old.credentials && !fresh.credentials) {
    add_setting(name, "credentials", old.credentials->empty() ? "none" : join(*old.credentials, ", "), "every one",
                records);
  } else if (old.credentials) {
    compare_list(name, "credentials", *old.credentials, *fresh.credentials, records);
  }
  compare_list(name, "write", old.writes, fresh.writes, records);
  compare_list(name, "share", old.shares, fresh.shares, records);
  compare_list(name, "keep", old.keeps, fresh.keeps, records);
  compare_list(name, "reach", texts(old.reaches), texts(fresh.reaches), records);
  std::vector<std::string> was_published, is_published;
  for (const auto port : old.publishes) was_published.push_back(std::to_string(port));
  for (const auto port : fresh.publishes) is_published.push_back(std::to_string(port));
  compare_list(name, "publish", was_published, is_published, records);
  compare_budget(name, old.budget, fresh.budget, records);
  for (const auto& [credential, terms] : old.credential_budgets) {
    const auto found = fresh.credential_budgets.find(credential);
    compare_budget(name, terms, found == fresh.credential_budgets.end() ? policy::BudgetTerms() : found->second,
                   records);
  }
  using Duration = std::optional<std::chrono::seconds>;
  const auto compare_duration = [&](const char* what, Duration was, Duration becomes, std::chrono::seconds usual) {
    if (becomes.value_or(usual) <= was.value_or(usual)) return;
    add_setting(name, what, format_duration(was.value_or(usual)), format_duration(becomes.value_or(usual)), records);
  };
  compare_duration("ttl", old.ttl, fresh.ttl, policy::kUsualTtl);
  compare_duration("max_lifetime", old.max_lifetime, fresh.max_lifetime, policy::kUsualMaxLifetime);
  compare_duration("approval_timeout", old.approval_timeout, fresh.approval_timeout, policy::kUsualApprovalTimeout);
}

/// Null: not named.
void compare_agent(const std::string& name, const AgentPolicy* before, const AgentPolicy* after,
                   const Services& services, std::vector<Record>& records) {
  compare_rules(name, before, after, services, records);
  compare_reach(name, before, after, records);
  if (after == nullptr && name != session::kDefaultAgent) return;
  AgentPolicy none;
  none.name = name;
  compare_settings(before != nullptr ? *before : none, after != nullptr ? *after : none, records);
}

/// A misspelt one would be proved of everything.
bool is_known(std::string_view method) {
  static const std::set<std::string_view> methods{
      "GET",      "HEAD",      "POST",  "PUT",  "PATCH", "DELETE", "OPTIONS", "TRACE",  "PURGE", "QUERY",
      "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE",  "LOCK",   "UNLOCK",  "REPORT", "SEARCH"};
  return methods.contains(method);
}

/// "never [unasked] METHOD[|METHOD...] CREDENTIAL PATH...", with * for every method or credential.
struct Claim {
  bool asked = true;  // also what is asked about counts against it
  std::string credential;
  policy::Rule region;
};

/// What is said besides: the claim is about credentials.
void remark_on_egress(const policy::Document& document) {
  std::vector<std::string> open;
  for (const auto& agent : document.agents) {
    if (!agent.egress || agent.egress->is_open()) open.push_back(agent.name);
  }
  if (document.find(session::kDefaultAgent) == nullptr) open.emplace_back(session::kDefaultAgent);
  if (open.empty()) return;
  note("the claim is about requests with a credential; without one, egress is open to " + join(open, ", "));
}

Claim parse_claim(const std::string& text) {
  const auto bad = [&](const std::string& what) {
    return Error(ErrorKind::usage, what, "write \"never DELETE github /repos/**\", or \"never unasked POST * /**\"");
  };
  std::vector<std::string> words;
  for (const auto part : split(text, ' ')) {
    if (!part.empty()) words.emplace_back(part);
  }
  Claim claim;
  auto word = words.begin();
  if (word == words.end() || *word++ != "never") throw bad("a claim begins with \"never\"");
  if (word != words.end() && *word == "unasked") {
    claim.asked = false;
    ++word;
  }
  if (words.end() - word < 2) throw bad("the claim names no method and no credential");
  for (const auto method : split(*word++, '|')) {
    if (method != "*" && !is_known(method)) throw bad("not a method: " + printable(method));
    claim.region.methods.emplace_back(method);
  }
  claim.credential = *word++;
  for (; word != words.end(); ++word) {
    auto pattern = http::PathPattern::parse(*word);
    if (!pattern) throw bad("not a path pattern: " + printable(*word));
    claim.region.paths.push_back(std::move(*pattern));
  }
  return claim;
}

}  // namespace

int run_policy_diff(const Arguments& a) {
  const auto old = read_policy_file(a.old_file);
  const auto fresh = read_policy_file(a.file);
  const auto services = services_for(a, {&old.document, &fresh.document});
  std::vector<Record> records;
  for (const auto& name : agents_in({&old.document, &fresh.document})) {
    compare_agent(name, old.document.find(name), fresh.document.find(name), services, records);
  }
  print_table(records, a.json, "nothing is permitted that was not before");
  return records.empty() ? 0 : 1;
}

/// Each agent is held against the boundary's of the same name, or its default.
int prove_within(const Arguments& a) {
  const auto boundary = read_policy_file(a.boundary_file);
  const auto file = read_policy_file(a.file);
  const auto services = services_for(a, {&boundary.document, &file.document});
  std::vector<Record> records;
  for (const auto& name : agents_in({&file.document})) {
    const auto* own = boundary.document.find(name);
    const auto* within = own != nullptr ? own : boundary.document.find(session::kDefaultAgent);
    compare_agent(name, within, file.document.find(name), services, records);
  }
  print_table(records, a.json, "proved: nothing is permitted that the boundary does not permit");
  return records.empty() ? 0 : 1;
}

int run_policy_prove(const Arguments& a) {
  if (a.claim.empty() == a.boundary_file.empty()) {
    throw Error(ErrorKind::usage, "prove takes a claim, or --within BOUNDARY",
                "\"agentvault policy prove FILE 'never DELETE github /**'\"");
  }
  if (a.claim.empty()) return prove_within(a);
  const auto file = read_policy_file(a.file);
  const auto claim = parse_claim(a.claim);
  const auto services = services_for(a, {&file.document}, claim.credential);
  if (claim.credential != "*" && !services.contains(claim.credential)) {
    throw Error(ErrorKind::not_found, "there is no credential, and no preset, named " + printable(claim.credential),
                "\"agentvault list\" shows the names");
  }
  std::vector<Record> records;
  bool complete = true;
  for (const auto& name : agents_in({&file.document})) {
    for (const auto& [credential, service] : services) {
      if (claim.credential != "*" && claim.credential != credential) continue;
      const auto comparison = policy::permitted(rules_of(file.document.find(name), name, credential, service),
                                                claim.region, claim.asked, service.place);
      complete = complete && comparison.complete;
      for (const auto& found : comparison.widened) {
        records.push_back({{"agent", name},
                           {"credential", credential + service.where},
                           {"is", word(found.after)},
                           {"example", found.example.text()},
                           {"by", found.rule}});
      }
    }
  }
  if (!complete && records.empty()) {
    throw Error(ErrorKind::failed,
                "not all combinations of these rules can be tried: nothing was found, and nothing is proved",
                "make the claim narrower");
  }
  print_table(records, a.json, "proved: no request that the claim describes is permitted");
  remark_on_egress(file.document);
  return records.empty() ? 0 : 1;
}

}  // namespace agentvault::cli
