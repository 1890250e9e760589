#include <algorithm>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "http/target.hpp"
#include "output.hpp"
#include "policy/rule_set.hpp"
#include "policy_file.hpp"
#include "provider/binding.hpp"
#include "session/governance.hpp"
#include "terminal.hpp"

namespace agentvault::cli {
namespace {

constexpr std::size_t kMaxBody = std::size_t{16} << 20;

struct Asked {
  net::Authority host;
  std::uint16_t port = 443;
  bool tls = true;
  std::string target;  // path and query
};

Asked parse_url(const std::string& url) {
  const auto scheme = url.find("://");
  const bool tls = url.starts_with("https://");
  const auto rest = scheme == std::string::npos ? std::string() : url.substr(scheme + 3);
  const auto slash = std::min(rest.find_first_of("/?"), rest.size());
  const auto authority = net::parse_authority(rest.substr(0, slash));
  if (!authority || (!tls && !url.starts_with("http://"))) {
    throw Error(ErrorKind::usage, "not a URL: \"" + printable(url) + "\"", "write https://host/path");
  }
  std::string target = rest.substr(slash);
  if (!target.starts_with('/')) target.insert(0, 1, '/');
  return {*authority, authority->port.value_or(tls ? 443 : 80), tls, target};
}

http::Fields parse_headers(const Arguments& a) {
  http::Fields fields;
  for (const auto& header : a.headers) {
    const auto colon = header.find(':');
    if (colon == std::string::npos || !http::is_token(std::string_view(header).substr(0, colon))) {
      throw Error(ErrorKind::usage, "not a header: \"" + printable(header) + "\"", "write \"Name: value\"");
    }
    fields.add(header.substr(0, colon), std::string(trim(std::string_view(header).substr(colon + 1))));
  }
  if (!a.body_file.empty()) fields.add("Content-Type", a.content_type.empty() ? "application/json" : a.content_type);
  return fields;
}

std::string read_body(const std::string& file) {
  const auto contents = read_file(file, kMaxBody);
  if (!contents) throw Error(ErrorKind::not_found, "there is no file " + printable(file), "is the path right?");
  return std::string(as_text(*contents));
}

/// The credential that would go with it: the one named, or the only one of this origin.
const store::CredentialRow* choose(const Arguments& a, const Asked& asked, const store::Snapshot& snapshot) {
  std::vector<const store::CredentialRow*> fitting;
  for (const auto& row : snapshot.credentials) {
    const auto origin = provider::Binding::from_json(row.binding).origin;
    const bool here = origin.host == asked.host.host && origin.port == asked.port;
    if (!a.credential.empty() && row.name == a.credential && !here) {
      throw Error(ErrorKind::usage, row.name + " is bound to " + origin.text() + ", not to this URL",
                  "give a URL of it");
    }
    if (here && (a.credential.empty() || row.name == a.credential)) fitting.push_back(&row);
  }
  if (fitting.empty() && !a.credential.empty()) {
    throw Error(ErrorKind::not_found, "there is no credential named " + printable(a.credential),
                "\"agentvault list\" shows the names");
  }
  if (fitting.size() > 1) {
    throw Error(ErrorKind::usage, "both " + fitting[0]->name + " and " + fitting[1]->name + " could go with it",
                "name one with --credential");
  }
  return fitting.empty() ? nullptr : fitting.front();
}

/// What the broker would find, in its words.
struct Verdict {
  policy::Effect effect = policy::Effect::deny;
  std::string reason;
  std::string rule;
  std::string judged{};  // where it is not the request itself
};

Verdict verdict_of(const policy::RuleSet& rules, const policy::Decision& decision) {
  return {decision.effect, rules.explain(decision), decision.rule ? describe(rules.rules()[*decision.rule - 1]) : "",
          ""};
}

Verdict judge_credential(const store::CredentialRow& row, const session::Governance& governance, policy::Facts facts,
                         const std::string& body, const http::Fields& fields, bool has_body) {
  const auto binding = provider::Binding::from_json(row.binding);
  const auto* agent = governance.agent ? &*governance.agent : nullptr;
  if (agent != nullptr && !agent->grants(row.name))
    return {policy::Effect::deny, "the agent is not granted " + row.name, ""};
  if (!binding.covers(facts.path)) return {policy::Effect::deny, "the path is not under " + binding.base, ""};
  const policy::RuleSet rules(policy::rules_for(agent, row.name, binding.rules));
  facts.credential = row.name;
  const auto judge = [&](std::string_view path) {
    const auto content =
        has_body ? policy::Content(fields, &body, rules.questions(facts.method, path)) : policy::Content();
    auto reading = facts;
    reading.path = path;
    reading.content = &content;
    return verdict_of(rules, rules.decide(reading));
  };
  auto verdict = judge(facts.path);
  auto other = judge(http::with_slashes(std::string(facts.path)));
  return !other.rule.empty() && other.effect > verdict.effect ? other : verdict;
}

/// Over TLS nobody looks into it: then the tunnel is what is judged.
Verdict judge_egress(const session::Governance& governance, const Asked& asked, policy::Facts facts,
                     const std::string& body, const http::Fields& fields, bool has_body) {
  const auto* agent = governance.agent ? &*governance.agent : nullptr;
  const auto egress = agent != nullptr && agent->egress ? *agent->egress : policy::Egress();
  if (!egress.opens(asked.host.host, asked.port)) return {policy::Effect::deny, "egress is " + egress.text(), ""};
  const policy::RuleSet rules(policy::rules_for(agent, "", {}));
  const auto content =
      has_body ? policy::Content(fields, &body, rules.questions(facts.method, facts.path)) : policy::Content();
  facts.content = &content;
  auto verdict = verdict_of(rules, asked.tls ? rules.decide_tunnel(facts) : rules.decide(facts));
  if (verdict.rule.empty() || verdict.effect == policy::Effect::allow) {
    verdict = {policy::Effect::allow, "egress " + egress.text(), ""};
  }
  if (asked.tls) verdict.judged = "CONNECT " + net::bracketed(asked.host.host) + ":" + std::to_string(asked.port);
  return verdict;
}

}  // namespace

int run_policy_explain(const Arguments& a) {
  const auto paths = a.paths_of_vault();
  paths.check();
  if (!http::is_token(a.method))
    throw Error(ErrorKind::usage, "not a method: " + printable(a.method), "write GET or POST");
  const auto snapshot = store::Database::open(paths.database()).newest();
  const auto governance = session::governance_of(snapshot.policies, a.agent, current_folder());
  const auto asked = parse_url(a.url);
  const auto* row = choose(a, asked, snapshot);
  const bool opaque = row != nullptr && provider::Binding::from_json(row->binding).opaque_slashes;
  const auto parsed = http::parse_target(asked.target, opaque);
  if (const auto* bad = std::get_if<http::BadTarget>(&parsed)) {
    throw Error(ErrorKind::usage, "the broker refuses this path: " + bad->reason, "write it in its plain, normal form");
  }
  const auto& target = std::get<http::Target>(parsed);
  const auto fields = parse_headers(a);
  const bool has_body = !a.body_file.empty();
  const std::string body = has_body ? read_body(a.body_file) : "";

  policy::Facts facts;
  facts.host = asked.host.host;
  facts.method = a.method;
  facts.path = target.path;
  facts.query = target.has_query ? &target.query : nullptr;
  facts.fields = &fields;
  facts.body_size = body.size();
  facts.time = policy::LocalTime::of(std::chrono::system_clock::now());
  const auto judge = [&] {
    return row != nullptr ? judge_credential(*row, governance, facts, body, fields, has_body)
                          : judge_egress(governance, asked, facts, body, fields, has_body);
  };
  const auto verdict = judge();
  facts.history.first_host = facts.history.first_path = true;
  const auto at_first = judge().effect;
  print_record({{"decision", std::string(name_of(verdict.effect))},
                {"at first", std::string(name_of(at_first))},
                {"reason", verdict.reason},
                {"rule", verdict.rule},
                {"credential", row != nullptr ? row->name : ""},
                {"policy", governance.source()},
                {"judged", verdict.judged.empty() ? a.method + " " + asked.host.host + target.text() : verdict.judged}},
               a.json);
  return verdict.effect == policy::Effect::deny ? Error(ErrorKind::denied, "").exit_code() : 0;
}

}  // namespace agentvault::cli
