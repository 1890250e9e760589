#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "net/origin.hpp"
#include "policy/learning.hpp"
#include "session/governance.hpp"
#include "terminal.hpp"

namespace agentvault::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxLog = std::size_t{256} << 20;

/// The session that is named, or the one whose log was written to last.
fs::path log_of(const Arguments& a) {
  const auto folder = a.paths_of_vault().audit();
  if (!a.session.empty()) {
    if (!unhex(a.session))
      throw Error(ErrorKind::usage, "not the id of a session: " + printable(a.session), "it stands in its first line");
    return folder / a.session / "events.jsonl";
  }
  fs::path newest;
  fs::file_time_type when;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const auto file = entry.path() / "events.jsonl";
    const auto written = fs::last_write_time(file, error);
    if (error || (!newest.empty() && written <= when)) continue;
    newest = file;
    when = written;
  }
  if (newest.empty())
    throw Error(ErrorKind::not_found, "there is no log of a session yet", "run one with \"agentvault exec\"");
  return newest;
}

struct Seen {
  std::vector<policy::Observed> requests;
  std::set<std::string> credentials;
  std::set<std::string> hosts;  // without a credential
};

std::string text_of(const nlohmann::json& event, const char* key) {
  const auto found = event.find(key);
  return found != event.end() && found->is_string() ? found->get<std::string>() : "";
}

void look_at(const nlohmann::json& event, bool denied_too, Seen& seen) {
  if (text_of(event, "event") != "decided") return;
  const bool by_policy = text_of(event, "reason") == "policy_denied" || text_of(event, "reason") == "egress_denied";
  if (text_of(event, "decision") != "allow" && !(denied_too && by_policy)) return;
  const auto credential = text_of(event, "credential");
  if (!credential.empty()) {
    seen.credentials.insert(credential);
    const auto reason = text_of(event, "reason");
    const bool asked = reason.ends_with(", approved") || reason.ends_with(", approved before");
    seen.requests.push_back({credential, text_of(event, "method"), text_of(event, "path"), asked});
  } else if (const auto host = net::parse_authority(text_of(event, "host"));
             host && text_of(event, "reason") != "intercepted") {
    seen.hosts.insert(net::bracketed(host->host) + ":" + std::to_string(host->port.value_or(443)));
  }
}

Seen read_log(const fs::path& file, bool denied_too) {
  const auto contents = read_file(file, kMaxLog);
  if (!contents)
    throw Error(ErrorKind::not_found, "there is no log " + file.string(), "\"agentvault sessions\" lists what runs");
  Seen seen;
  for (const auto line : split(as_text(*contents), '\n')) {
    const auto event = nlohmann::json::parse(line.begin(), line.end(), nullptr, false);
    if (event.is_object()) look_at(event, denied_too, seen);
  }
  return seen;
}

}  // namespace

int run_policy_learn(const Arguments& a) {
  a.paths_of_vault().check_directory();
  if (!valid_name(a.agent)) throw Error(ErrorKind::usage, "not a name: " + printable(a.agent), "a-z 0-9 . _ -");
  const auto file = log_of(a);
  const auto seen = read_log(file, a.all);
  const auto learned = policy::learn(seen.requests);
  const std::string text = policy::write_policy(a.agent, {seen.credentials.begin(), seen.credentials.end()},
                                                {seen.hosts.begin(), seen.hosts.end()}, learned);
  policy::parse_document(text, "learned");  // what is proposed can be used
  std::fputs(text.c_str(), stdout);
  note("learned from " + file.parent_path().filename().string() + ": " + std::to_string(seen.requests.size()) +
       " requests; read it before you trust it");
  return 0;
}

}  // namespace agentvault::cli
