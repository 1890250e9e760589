#include "judgement.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/saturating.hpp"
#include "base/text.hpp"
#include "budget/model_call.hpp"
#include "http/target.hpp"
#include "policy/rule_set.hpp"
#include "session/governance.hpp"

namespace agentvault::cli {
namespace {

using policy::Effect;

struct Url {
  net::Authority host;
  std::uint16_t port = 443;
  bool tls = true;
  std::string target;  // path and query
};

Url parse_url(const std::string& url) {
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

const Candidate* choose(const std::string& wanted, const Url& url, const std::vector<Candidate>& candidates) {
  std::vector<const Candidate*> fitting;
  bool exists = false;
  for (const auto& candidate : candidates) {
    const auto& origin = candidate.binding.origin;
    const bool here = origin.host == url.host.host && origin.port == url.port;
    const bool named = candidate.name == wanted;
    exists = exists || named;
    if (named && !here) {
      throw Error(ErrorKind::usage, wanted + " is bound to " + origin.text() + ", not to this URL", "give a URL of it");
    }
    if (here && (wanted.empty() || named)) fitting.push_back(&candidate);
  }
  if (!wanted.empty() && !exists) {
    throw Error(ErrorKind::not_found, "there is no credential named " + printable(wanted),
                "\"agentvault list\" shows the names");
  }
  if (fitting.size() > 1) {
    throw Error(ErrorKind::usage, "both " + fitting[0]->name + " and " + fitting[1]->name + " could go with it",
                "name one");
  }
  return fitting.empty() ? nullptr : fitting.front();
}

Verdict verdict_of(const policy::RuleSet& rules, const policy::Decision& decision) {
  return {decision.effect, rules.explain(decision), decision.rule ? describe(rules.rules()[*decision.rule - 1]) : ""};
}

/// A budget that never lets such a request through, whatever was used before.
std::optional<std::string> never_in_budget(const AskedRequest& asked, std::string_view path,
                                           const policy::AgentPolicy& agent, const Candidate& candidate) {
  std::vector<const policy::BudgetTerms*> all{&agent.budget};
  const auto own = agent.credential_budgets.find(candidate.name);
  if (own != agent.credential_budgets.end()) all.push_back(&own->second);
  bool meters = false;
  for (const auto* terms : all) {
    if (terms->requests_per_minute == 0U || terms->requests_per_day == 0U) return "its budget allows no request";
    meters = meters || terms->meters_models();
  }
  if (!meters) return std::nullopt;
  const std::string* body = asked.body ? &*asked.body : nullptr;
  const std::string none;
  const auto call = budget::read_model_call(candidate.metering.shape, asked.method, std::string(path),
                                            body != nullptr ? body : &none);
  if (const auto* unbounded = std::get_if<budget::Unbounded>(&call)) {
    return "a budget limits what models use, and " + unbounded->reason + " (budget_unbounded)";
  }
  const auto* model = std::get_if<budget::ModelCall>(&call);
  if (model == nullptr) return std::nullopt;
  const auto price = candidate.metering.price_of(model->model);
  for (const auto* terms : all) {
    const auto tokens = saturating_sum(model->most.input, model->most.output);
    if (terms->tokens_per_day && tokens > *terms->tokens_per_day)
      return "it alone could use more tokens than a day has";
    if (!terms->microusd_per_day) continue;
    if (!price) return "a budget limits money, and the price of " + printable(model->model) + " is not known";
    if (provider::cost_of(model->most, *price) > *terms->microusd_per_day)
      return "it alone could cost more than a day has";
  }
  return std::nullopt;
}

Verdict judge_credential(const AskedRequest& asked, const Candidate& candidate, const policy::AgentPolicy* agent,
                         policy::Facts facts) {
  if (agent != nullptr && !agent->grants(candidate.name)) {
    return {Effect::deny, "the agent is not granted " + candidate.name};
  }
  if (!candidate.binding.covers(facts.path)) return {Effect::deny, "the path is not under " + candidate.binding.base};
  const policy::RuleSet rules(policy::rules_for(agent, candidate.name, candidate.binding.rules));
  facts.credential = candidate.name;
  const auto judge_path = [&](std::string_view path) {
    const auto content = asked.body ? policy::Content(asked.fields, &*asked.body, rules.questions(facts.method, path))
                                    : policy::Content();
    auto reading = facts;
    reading.path = path;
    reading.content = &content;
    return verdict_of(rules, rules.decide(reading));
  };
  auto verdict = judge_path(facts.path);
  auto other = judge_path(http::with_slashes(std::string(facts.path)));
  if (!other.rule.empty() && other.effect > verdict.effect) verdict = other;
  if (verdict.effect == Effect::deny || agent == nullptr) return verdict;
  if (auto reason = never_in_budget(asked, facts.path, *agent, candidate)) return {Effect::deny, *reason};
  return verdict;
}

/// Over TLS nobody looks into it: then the tunnel is what is judged.
Verdict judge_egress(const AskedRequest& asked, const Url& url, const policy::AgentPolicy* agent, policy::Facts facts) {
  const auto egress = agent != nullptr && agent->egress ? *agent->egress : policy::Egress();
  Verdict verdict{Effect::deny, "egress is " + egress.text()};
  if (egress.opens(url.host.host, url.port)) {
    const policy::RuleSet rules(policy::rules_for(agent, "", {}));
    const auto content = asked.body
                             ? policy::Content(asked.fields, &*asked.body, rules.questions(facts.method, facts.path))
                             : policy::Content();
    facts.content = &content;
    verdict = verdict_of(rules, url.tls ? rules.decide_tunnel(facts) : rules.decide(facts));
    if (verdict.rule.empty() || verdict.effect == Effect::allow) verdict = {Effect::allow, "egress " + egress.text()};
  }
  if (url.tls) verdict.judged = "CONNECT " + net::bracketed(url.host.host) + ":" + std::to_string(url.port);
  return verdict;
}

}  // namespace

Verdict judge(const AskedRequest& request, const policy::AgentPolicy* agent, const std::vector<Candidate>& candidates,
              const policy::History& history) {
  AskedRequest asked = request;
  http::remove_hop_by_hop(asked.fields);
  auto url = parse_url(asked.url);
  const auto* candidate = choose(asked.credential, url, candidates);
  if (candidate == nullptr && url.tls) url.target = "/";  // which nobody sees
  const auto parsed = http::parse_target(url.target, candidate != nullptr && candidate->binding.opaque_slashes);
  if (const auto* bad = std::get_if<http::BadTarget>(&parsed)) {
    return {Effect::deny, "the broker refuses this path: " + bad->reason, "",
            candidate != nullptr ? candidate->name : "", asked.method + " " + asked.url};
  }
  const auto& target = std::get<http::Target>(parsed);
  policy::Facts facts;
  facts.host = url.host.host;
  facts.method = asked.method;
  facts.path = target.path;
  facts.query = target.has_query ? &target.query : nullptr;
  facts.fields = &asked.fields;
  facts.body_size = asked.body ? asked.body->size() : 0;
  facts.time = policy::LocalTime::of(std::chrono::system_clock::now());
  facts.history = history;
  auto verdict =
      candidate != nullptr ? judge_credential(asked, *candidate, agent, facts) : judge_egress(asked, url, agent, facts);
  if (verdict.effect == Effect::approve && agent != nullptr && agent->isolation == "off") {
    verdict.effect = Effect::deny;
    verdict.reason = "at isolation off nobody can be asked: " + verdict.reason;
  }
  if (candidate != nullptr) verdict.credential = candidate->name;
  if (verdict.judged.empty()) verdict.judged = asked.method + " " + url.host.host + target.text();
  return verdict;
}

std::vector<std::string> failed_tests(const policy::Document& document, const std::vector<Candidate>& candidates) {
  std::vector<std::string> lines;
  for (const auto& test : document.tests) {
    AskedRequest asked{test.method, test.url, test.credential, {}, test.body};
    for (const auto& [name, value] : test.headers) asked.fields.add(name, value);
    if (test.body && asked.fields.count("content-type") == 0) {
      asked.fields.add("Content-Type", test.content_type.empty() ? "application/json" : test.content_type);
    }
    const std::string where = "line " + std::to_string(test.line) + ": ";
    const auto* agent = document.find(test.agent.empty() ? session::kDefaultAgent : test.agent);
    if (agent == nullptr && !test.agent.empty()) {
      lines.push_back(where + "the file names no agent " + printable(test.agent));
      continue;
    }
    try {
      const auto verdict = judge(asked, agent, candidates);
      if (verdict.effect == test.expected) continue;
      lines.push_back(where + printable(test.method + " " + test.url) + ": expected " +
                      std::string(name_of(test.expected)) + ", and it is " + std::string(name_of(verdict.effect)) +
                      " (" + verdict.reason + ")");
    } catch (const Error& error) {
      lines.push_back(where + error.what());
    }
  }
  return lines;
}

}  // namespace agentvault::cli
