#include "policy/comparison.hpp"

#include <algorithm>
#include <set>
#include <tuple>

#include "http/target.hpp"
#include "policy/witness.hpp"

namespace agentvault::policy {
namespace {

Facts facts_of(const Example& example, const Place& place) {
  Facts facts;
  facts.credential = place.credential;
  facts.host = place.host;
  facts.method = example.method;
  facts.path = example.path;
  facts.query = example.query.empty() ? nullptr : &example.query;
  facts.fields = &example.fields;
  facts.body_size = example.body_size;
  facts.time = example.time;
  facts.history = example.history;
  return facts;
}

Decision decide_reading(const RuleSet& rules, const Example& example, const Place& place, const std::string& path) {
  const auto content =
      example.body ? Content(example.fields, &*example.body, rules.questions(example.method, path)) : Content();
  auto facts = facts_of(example, place);
  facts.path = path;
  facts.content = &content;
  return rules.decide(facts);
}

/// As the broker does: what is taken away is taken away from both readings of a path.
Decision decide(const RuleSet& rules, const Example& example, const Place& place) {
  const auto decision = decide_reading(rules, example, place, example.path);
  const auto slashed = http::with_slashes(example.path);
  if (!place.opaque_slashes || slashed == example.path) return decision;
  const auto other = decide_reading(rules, example, place, slashed);
  return other.rule && other.effect > decision.effect ? other : decision;
}

bool is_under(const std::string& path, const std::string& base) {
  return path.starts_with(base) && (path.size() == base.size() || path[base.size()] == '/');
}

/// Its paths are told from others.
std::vector<Rule> base_of(const Place& place) {
  Rule rule;
  for (const char* rest : {"", "/**"}) {
    if (auto pattern = http::PathPattern::parse(place.base + rest)) rule.paths.push_back(std::move(*pattern));
  }
  return place.base.empty() ? std::vector<Rule>() : std::vector<Rule>{rule};
}

/// In any reading.
bool describes(const RuleSet& claim, const Example& example, const Place& place) {
  return decide_reading(claim, example, place, example.path).rule ||
         (place.opaque_slashes && decide_reading(claim, example, place, http::with_slashes(example.path)).rule);
}

/// Those that can be about this host.
std::vector<const Rule*> pointers(const Place& place, const std::vector<Rule>& first, const std::vector<Rule>& second,
                                  const std::vector<Rule>& third = {}) {
  std::vector<const Rule*> all;
  for (const auto* rules : {&first, &second, &third}) {
    for (const auto& rule : *rules) {
      if (rule.has_host(place.host)) all.push_back(&rule);
    }
  }
  return all;
}

/// Whether some path is one of both.
bool paths_meet(const Rule& rule, const Rule& claim, bool opaque_slashes) {
  if (rule.paths.empty() || claim.paths.empty()) return true;
  for (const auto& wanted : claim.paths) {
    for (const auto& pattern : rule.paths) {
      const auto found = path_witnesses({pattern, wanted}, opaque_slashes);
      const auto both = [&](const Witness& path) {
        return (path.matches[0] || (opaque_slashes && path.matches[2])) &&
               (path.matches[1] || (opaque_slashes && path.matches[3]));
      };
      if (!found.complete || std::any_of(found.all.begin(), found.all.end(), both)) return true;
    }
  }
  return false;
}

/// Rules that no request of the claim's can meet tell none of them apart.
std::vector<const Rule*> those_that_meet(std::vector<const Rule*> rules, const Rule& claim, bool opaque_slashes) {
  std::erase_if(rules, [&](const Rule* rule) { return !paths_meet(*rule, claim, opaque_slashes); });
  return rules;
}

}  // namespace

std::vector<std::string> hosts_told_apart(const std::vector<std::string>& patterns) {
  std::set<std::string> listed;  // "*.example.net" as ".example.net"
  for (const auto& host : patterns) listed.insert(host.starts_with("*.") ? host.substr(1) : host);
  // A name below `suffix` that nothing longer than it is about.
  const auto fresh_below = [&](const std::string& suffix) {
    for (int number = 0;; ++number) {
      const std::string name = (number == 0 ? "any" : "any" + std::to_string(number)) + suffix;
      const bool taken = std::any_of(listed.begin(), listed.end(), [&](const auto& entry) {
        return entry == name || (entry.starts_with('.') && entry.size() > suffix.size() && name.ends_with(entry));
      });
      if (!taken) return name;
    }
  };
  std::set<std::string> hosts;
  for (const auto& entry : listed) hosts.insert(entry.starts_with('.') ? fresh_below(entry) : entry);
  std::string top = ".example";
  for (int number = 1;
       std::any_of(listed.begin(), listed.end(), [&](const auto& e) { return ("any" + top).ends_with(e); }); ++number) {
    top = ".example" + std::to_string(number);
  }
  hosts.insert(fresh_below(top));
  return {hosts.begin(), hosts.end()};
}

Comparison widenings(const std::vector<Rule>& before, const std::vector<Rule>& after, const Place& place) {
  const RuleSet old_rules(before);
  const RuleSet new_rules(after);
  Comparison out;
  std::set<std::tuple<std::size_t, Effect, Effect>> seen;
  const auto base = base_of(place);
  out.complete = each_example(pointers(place, before, after, base), place.opaque_slashes, [&](const Example& example) {
    if (!is_under(example.path, place.base)) return;
    const auto was = decide(old_rules, example, place);
    const auto is = decide(new_rules, example, place);
    if (is.effect >= was.effect || !seen.insert({is.rule.value_or(0), was.effect, is.effect}).second) return;
    out.widened.push_back({was.effect, is.effect, describe(after[*is.rule - 1]), example});
  });
  return out;
}

Comparison permitted(const std::vector<Rule>& rules, const Rule& claim, bool asked, const Place& place) {
  const RuleSet set(rules);
  // What cannot be told counts against the policy.
  std::vector<Rule> claimed{claim};
  claimed.front().effect = Effect::deny;
  const RuleSet region(claimed);
  Comparison out;
  std::set<std::pair<std::size_t, Effect>> seen;
  const auto base = base_of(place);
  out.complete =
      each_example(those_that_meet(pointers(place, rules, claimed, base), claim, place.opaque_slashes),
                   place.opaque_slashes, [&](const Example& example) {
                     if (!is_under(example.path, place.base) || !describes(region, example, place)) return;
                     const auto is = decide(set, example, place);
                     if (is.effect == Effect::deny || (is.effect == Effect::approve && !asked)) return;
                     if (!seen.insert({is.rule.value_or(0), is.effect}).second) return;
                     out.widened.push_back({Effect::deny, is.effect, describe(rules[*is.rule - 1]), example});
                   });
  return out;
}

namespace {

/// What is open, rules can take away.
Effect effect_of(const Reach& reach, const Decision& decision, const std::string& host, std::uint16_t port) {
  if (!reach.egress.opens(host, port)) return Effect::deny;
  return decision.rule ? decision.effect : Effect::allow;
}

Decision tunnel(const RuleSet& rules, const std::string& host) {
  Facts facts;
  facts.host = host;
  facts.method = "CONNECT";
  return rules.decide_tunnel(facts);
}

/// Each host that is told apart, at ports that are named, and at others.
std::vector<std::pair<std::string, std::uint16_t>> telling_hosts(const Reach& before, const Reach& after) {
  constexpr std::uint16_t unnamed_port = 49'151;
  std::vector<std::string> listed;
  std::vector<std::uint16_t> ports{443, 80, 22, unnamed_port};
  for (const auto* reach : {&before, &after}) {
    for (const auto& host : reach->egress.hosts()) {
      listed.push_back(host.host.starts_with('.') ? "*" + host.host : host.host);
      if (host.port) ports.push_back(*host.port);
    }
    for (const auto& rule : reach->rules) listed.insert(listed.end(), rule.hosts.begin(), rule.hosts.end());
  }
  std::vector<std::pair<std::string, std::uint16_t>> out;
  for (const auto& host : hosts_told_apart(listed)) {
    for (const auto port : ports) out.emplace_back(host, port);
  }
  return out;
}

}  // namespace

Comparison reach_widenings(const Reach& before, const Reach& after) {
  const RuleSet old_rules(before.rules);
  const RuleSet new_rules(after.rules);
  Comparison out;
  const auto note = [&](Effect was, Effect is, const Decision& decision, Example example) {
    if (is >= was) return false;
    const std::string by = decision.rule ? describe(after.rules[*decision.rule - 1]) : "egress " + after.egress.text();
    out.widened.push_back({was, is, by, std::move(example)});
    return true;
  };
  std::set<std::string> shown;
  for (const auto& [host, port] : telling_hosts(before, after)) {
    if (shown.contains(host) || !after.egress.opens(host, port)) continue;
    const std::string place = net::bracketed(host) + ":" + std::to_string(port);
    Example connect;
    connect.method = "CONNECT";
    connect.path = place;
    connect.time = {12 * 60, 1};
    const auto decision = tunnel(new_rules, host);
    bool wider = note(effect_of(before, tunnel(old_rules, host), host, port), effect_of(after, decision, host, port),
                      decision, connect);
    if (!wider && (!before.rules.empty() || !after.rules.empty())) {
      out.complete = each_example(pointers({"", host}, before.rules, after.rules), false,
                                  [&, &h = host, p = port](Example example) {
                                    const auto was = decide(old_rules, example, {"", h});
                                    const auto is = decide(new_rules, example, {"", h});
                                    example.path = "http://" + place + example.path;
                                    wider = wider || note(effect_of(before, was, h, p), effect_of(after, is, h, p), is,
                                                          std::move(example));
                                  }) &&
                     out.complete;
    }
    if (wider) shown.insert(host);
  }
  return out;
}

}  // namespace agentvault::policy
