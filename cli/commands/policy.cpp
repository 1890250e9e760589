#include <algorithm>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "open_vault.hpp"
#include "output.hpp"
#include "policy_file.hpp"
#include "policy_remarks.hpp"
#include "provider/binding.hpp"
#include "rule_lines.hpp"
#include "session/announcement.hpp"
#include "session/governance.hpp"
#include "terminal.hpp"

namespace agentvault::cli {
namespace {

using session::Governance;

std::vector<std::string> names_of(const policy::Document& document) {
  std::vector<std::string> names;
  for (const auto& agent : document.agents) names.push_back(agent.name);
  return names;
}

/// What is stored, or nothing where there is no vault yet.
std::vector<store::CredentialRow> stored_credentials(const Arguments& a) {
  if (!std::filesystem::exists(a.paths_of_vault().database())) return {};
  return store::Database::open(a.paths_of_vault().database()).newest().credentials;
}

/// Names in a policy that the vault does not know are no errors: a policy is shared, and keys are not.
void remark_on_unknown_credentials(const policy::Document& document, const std::vector<store::CredentialRow>& rows) {
  std::set<std::string> named;
  for (const auto& agent : document.agents) {
    if (agent.credentials) named.insert(agent.credentials->begin(), agent.credentials->end());
    for (const auto& rule : agent.rules) named.insert(rule.credentials.begin(), rule.credentials.end());
    for (const auto& [name, terms] : agent.credential_budgets) named.insert(name);
  }
  for (const auto& name : named) {
    const bool known = std::any_of(rows.begin(), rows.end(), [&](const auto& row) { return row.name == name; });
    if (!known) note("warning: the vault has no credential named " + name);
  }
}

/// The barrier, and then the sessions. Of `agents`, those that are revoked stay so unless the person said otherwise:
/// whoever tightens a policy after an incident wants nobody back.
void store_policies(const Arguments& a, keys::Vault& vault, std::vector<store::PolicyRow> policies,
                    const std::vector<std::string>& agents) {
  std::vector<std::string> revoked;
  for (const auto& agent : agents) {
    if (vault.is_revoked(agent)) revoked.push_back(agent);
  }
  vault.set_policies(std::move(policies), a.readmit ? revoked : std::vector<std::string>());
  report_barrier(vault);
  for (const auto& agent : revoked) {
    note("the agent " + agent +
         (a.readmit ? " may start sessions again"
                    : " stays revoked; \"agentvault revoke --agent " + agent + " --lift\" readmits it"));
  }
  for (const auto& name : session::announce_policies(vault, a.paths_of_vault())) {
    note("session " + name + " did not answer and was killed");
  }
}

std::vector<store::PolicyRow> without(std::vector<store::PolicyRow> rows, const std::string& path,
                                      const std::string& agent) {
  std::erase_if(rows, [&](const auto& row) { return row.path == path && (agent.empty() || row.agent == agent); });
  return rows;
}

int remove_policy(const Arguments& a, const std::string& path, const std::string& what) {
  auto vault = open_vault_for_change(a);
  const auto& stored = vault.snapshot().policies;
  auto rest = without(stored, path, a.agent_name);
  if (rest.size() == stored.size()) {
    throw Error(ErrorKind::not_found, what + " does not count anyway",
                "\"agentvault policy show --all\" lists what does");
  }
  store_policies(a, vault, std::move(rest), {});
  note(what + " counts no longer");
  return 0;
}

Record record_of(const policy::AgentPolicy& agent) {
  Record record{{"agent", agent.name}};
  if (agent.credentials) record.emplace_back("credentials", *agent.credentials);
  if (agent.egress) record.emplace_back("egress", agent.egress->text());
  if (!agent.isolation.empty()) record.emplace_back("isolation", agent.isolation);
  if (!agent.budget.empty()) record.emplace_back("budget", describe(agent.budget));
  for (const auto& [name, terms] : agent.credential_budgets) record.emplace_back("budget of " + name, describe(terms));
  return record;
}

Governance governance_here(const Arguments& a, const store::Snapshot& snapshot) {
  const auto remark = session::remark_on_policy_file(current_folder(), a.agent, snapshot.policies);
  if (!remark.empty()) note("warning: " + remark);
  return session::governance_of(snapshot.policies, a.agent, current_folder());
}

int show_all(const Arguments& a, const std::vector<store::PolicyRow>& policies) {
  std::vector<Record> records;
  for (const auto& row : policies) {
    std::string state = "applied";
    if (!row.path.empty()) {
      std::error_code error;
      state = session::is_as_trusted(row)                ? "trusted"
              : std::filesystem::exists(row.path, error) ? "trusted; the file was changed"
                                                         : "trusted; the file is gone";
    }
    const auto agents =
        row.agent.empty() ? join(names_of(policy::parse_document(row.text, "the vault's policy")), ", ") : row.agent;
    records.push_back({{"agent", agents}, {"state", state}, {"file", row.path}});
  }
  print_table(records, a.json, "the vault holds no policy: agents may do what presets allow");
  return 0;
}

}  // namespace

int run_policy_check(const Arguments& a) {
  const auto file = read_policy_file(a.file);
  remark_on_unknown_credentials(file.document, stored_credentials(a));
  for (const auto& remark : remarks_on(file.document, services_for(a, {&file.document}))) note("warning: " + remark);
  std::vector<Record> records;
  for (const auto& agent : file.document.agents) {
    Record record = record_of(agent);
    add_rules(agent.rules, a.json, record);
    records.push_back(std::move(record));
  }
  if (a.json) {
    print_table(records, true, "");
  } else {
    for (const auto& record : records) print_record(record, false);
  }
  const auto failed = failed_tests(file.document, candidates_for_tests(a, file.document));
  const auto name = printable(file.path.filename().string());
  for (const auto& line : failed) note(name + ", " + line);
  const auto tests = file.document.tests.size();
  if (!failed.empty()) {
    throw Error(ErrorKind::denied, std::to_string(failed.size()) + " of " + std::to_string(tests) + " tests failed",
                "\"agentvault policy explain\" says why in more words");
  }
  note(name + " is sound" +
       (tests == 0   ? ""
        : tests == 1 ? "; its test holds"
                     : "; its " + std::to_string(tests) + " tests hold"));
  return 0;
}

int run_policy_apply(const Arguments& a) {
  harden_process();
  if (a.remove != a.file.empty()) throw Error(ErrorKind::usage, "apply takes a file, or --remove", "name the file");
  if (a.remove) return remove_policy(a, "", "the vault's policy");
  const auto file = read_policy_file(a.file);
  remark_on_unknown_credentials(file.document, stored_credentials(a));
  auto vault = open_vault_for_change(a);
  auto policies = without(vault.snapshot().policies, "", "");
  policies.push_back({"", "", file.text});
  store_policies(a, vault, std::move(policies), names_of(file.document));
  note("applied: it counts for " + (file.document.agents.empty() ? "nobody" : join(names_of(file.document), ", ")) +
       ", wherever no project file is trusted");
  return 0;
}

int run_policy_trust(const Arguments& a) {
  harden_process();
  if (a.remove) {
    const auto path = policy_file_path(a.file).string();
    return remove_policy(a, path, printable(path));
  }
  const auto file = read_policy_file(a.file);
  if (file.path.filename() != session::kPolicyFile) {
    throw Error(ErrorKind::usage, std::string("only a file called ") + session::kPolicyFile + " counts for its folder",
                "rename it, or make it the vault's own with \"agentvault policy apply\"");
  }
  auto agents = names_of(file.document);
  if (!a.agent_name.empty()) {
    if (file.document.find(a.agent_name) == nullptr) {
      throw Error(ErrorKind::not_found, "the file names no agent " + printable(a.agent_name),
                  agents.empty() ? "write [agents.NAME] into it" : "it names " + join(agents, ", "));
    }
    agents = {a.agent_name};
  }
  if (agents.empty()) throw Error(ErrorKind::usage, "the file names no agent", "write [agents.default] into it");
  remark_on_unknown_credentials(file.document, stored_credentials(a));
  auto vault = open_vault_for_change(a);
  auto policies = without(vault.snapshot().policies, file.path.string(), a.agent_name);
  for (const auto& agent : agents) policies.push_back({file.path.string(), agent, file.text});
  store_policies(a, vault, std::move(policies), agents);
  note(printable(file.path.string()) + " counts, as it is now, for " + join(agents, ", "));
  return 0;
}

int run_policy_show(const Arguments& a) {
  const auto paths = a.paths_of_vault();
  paths.check();
  const auto snapshot = store::Database::open(paths.database()).newest();
  if (a.all) return show_all(a, snapshot.policies);
  const auto governance = governance_here(a, snapshot);
  const auto* agent = governance.agent ? &*governance.agent : nullptr;
  Record record = agent != nullptr ? record_of(*agent) : Record{{"agent", a.agent}};
  record.insert(record.begin() + 1, {"source", governance.source()});
  for (const auto& row : snapshot.credentials) {
    if (agent != nullptr && !agent->grants(row.name)) continue;
    const auto binding = provider::Binding::from_json(row.binding);
    std::vector<std::string> lines;
    for (const auto& rule : policy::rules_for(agent, row.name, binding.rules)) lines.push_back(describe(rule));
    if (a.json) {
      record.emplace_back(row.name, lines);
      continue;
    }
    for (std::size_t i = 0; i < lines.size(); ++i) record.emplace_back(i == 0 ? row.name : "", lines[i]);
  }
  print_record(record, a.json);
  return 0;
}

}  // namespace agentvault::cli
