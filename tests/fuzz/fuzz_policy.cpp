// The border to policy files and plans: any text is refused with a line, or read; and what was read decides as one rule
// after the other does.
#include <algorithm>
#include <cstdlib>

#include "base/error.hpp"
#include "policy/document.hpp"
#include "policy/rule_set.hpp"

using namespace agentvault;
using namespace agentvault::policy;

namespace {

Decision naive(const std::vector<Rule>& rules, const Facts& facts) {
  Decision decision;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const auto& paths = rules[i].paths;
    const bool path = paths.empty() || std::any_of(paths.begin(), paths.end(),
                                                   [&](const auto& pattern) { return pattern.matches(facts.path); });
    if (!path || !rules[i].holds(facts)) continue;
    const auto effect = rules[i].effect_on(facts);
    if (!decision.rule || effect > decision.effect) decision = {effect, i + 1};
  }
  return decision;
}

void judge(const std::vector<Rule>& rules) {
  const RuleSet set(rules);
  static const char* const paths[]{"/", "/v1/responses", "/a/b/c", "/a*", "/repos/o/r/issues/1"};
  const http::Fields fields;
  const Content content;
  for (const char* path : paths) {
    Facts facts;
    facts.credential = "openai";
    facts.host = "api.example.org";
    facts.method = "POST";
    facts.path = path;
    facts.fields = &fields;
    facts.content = &content;
    const auto fast = set.decide(facts);
    const auto slow = naive(rules, facts);
    if (fast.effect != slow.effect || fast.rule != slow.rule) std::abort();
    (void)set.explain(fast);
  }
  for (const auto& rule : rules) (void)describe(rule);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    for (const auto& agent : parse_document(text, "p").agents) judge(agent.rules);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::usage || error.hint().empty()) std::abort();
  }
  try {
    judge(parse_plan(text, "p"));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::usage) std::abort();
  }
  return 0;
}
