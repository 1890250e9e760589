#include "session/governance.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"

namespace agentvault::session {
namespace {

namespace fs = std::filesystem;

const store::PolicyRow* find(const std::vector<store::PolicyRow>& policies, const std::string& path,
                             const std::string& agent) {
  const auto found = std::find_if(policies.begin(), policies.end(),
                                  [&](const auto& row) { return row.path == path && row.agent == agent; });
  return found == policies.end() ? nullptr : &*found;
}

/// The folder and those above it, the nearest first.
std::vector<fs::path> upwards(const fs::path& folder) {
  std::vector<fs::path> folders;
  for (fs::path at = folder;; at = at.parent_path()) {
    folders.push_back(at);
    if (at == at.root_path() || at.empty()) return folders;
  }
}

policy::Document parse_stored(const store::PolicyRow& row) {
  try {
    return policy::parse_document(row.text, row.path.empty() ? "the vault's policy" : row.path);
  } catch (const Error& error) {
    throw Error(ErrorKind::integrity, std::string("a stored policy cannot be read: ") + error.what(),
                "was it written by a newer agentvault? Else apply or trust it again");
  }
}

/// A file that is gone counts as well as one that was edited: an agent could delete it.
const store::PolicyRow* nearest_trusted(const std::vector<store::PolicyRow>& policies, const std::string& agent,
                                        const fs::path& folder) {
  for (const auto& at : upwards(folder)) {
    if (const auto* row = find(policies, (at / kPolicyFile).string(), agent)) return row;
  }
  return nullptr;
}

}  // namespace

std::string Governance::source() const {
  if (!agent) return "presets";
  return path.empty() ? "the vault's policy" : path;
}

Governance governance_of(const std::vector<store::PolicyRow>& policies, const std::string& agent,
                         const fs::path& folder) {
  for (const auto* row : {nearest_trusted(policies, agent, folder), find(policies, "", "")}) {
    if (row == nullptr) continue;
    const auto document = parse_stored(*row);
    if (const auto* found = document.find(agent)) return {row->path, row->text, *found};
  }
  if (agent == kDefaultAgent) return {};
  throw Error(ErrorKind::not_found, "there is no agent \"" + printable(agent) + "\"",
              "name it in a policy: [agents." + printable(agent) + "] in " + kPolicyFile +
                  ", then \"agentvault policy trust\"");
}

fs::path nearest_policy_file(const fs::path& folder) {
  std::error_code error;
  for (const auto& at : upwards(folder)) {
    if (fs::exists(fs::symlink_status(at / kPolicyFile, error))) return at / kPolicyFile;
  }
  return {};
}

bool is_as_trusted(const store::PolicyRow& row) {
  std::error_code error;
  if (!fs::is_regular_file(row.path, error)) return false;
  try {
    const auto contents = read_file(row.path, policy::kMaxDocument);
    return contents && as_text(*contents) == row.text;
  } catch (const Error&) {
    return false;
  }
}

std::string remark_on_policy_file(const fs::path& folder, const std::string& agent,
                                  const std::vector<store::PolicyRow>& policies) {
  const auto file = nearest_policy_file(folder);
  if (file.empty()) return {};
  const auto* row = find(policies, file.string(), agent);
  const std::string next = ": \"agentvault policy trust\" lets it count";
  if (row == nullptr) return printable(file.string()) + " is not trusted for " + agent + ", and does not count" + next;
  if (is_as_trusted(*row)) return {};
  return printable(file.string()) + " was changed since it was trusted; what was trusted counts" + next;
}

}  // namespace agentvault::session
