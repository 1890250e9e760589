#include "policy/rule_set.hpp"

#include <algorithm>

namespace agentvault::policy {

RuleSet::RuleSet(std::vector<Rule> rules) : rules_(std::move(rules)) {
  for (std::size_t i = 0; i < rules_.size(); ++i) {
    const auto id = static_cast<std::uint32_t>(i);
    for (const auto& pattern : rules_[i].paths) index_.add(pattern, id);
    if (rules_[i].paths.empty()) index_.add_any(id);
    const auto questions = rules_[i].questions();
    asks_for_body_ = asks_for_body_ || questions.body || questions.fields;
    asks_for_history_ = asks_for_history_ || rules_[i].approve_when;
  }
}

Decision RuleSet::decide(const Facts& given) const {
  Facts facts = given;
  facts.method_in_doubt = may_mean_another_method(given);
  std::vector<std::uint32_t> candidates;
  index_.match(facts.path, candidates);
  Decision decision;
  std::optional<std::size_t> doubtful_question;
  for (const auto id : candidates) {
    const Rule& rule = rules_[id];
    const std::size_t number = id + 1;
    // Only what is stronger, or as strong and earlier in the list, can still change the answer.
    if (decision.rule && (rule.effect_on(facts) < decision.effect ||
                          (rule.effect_on(facts) == decision.effect && number >= *decision.rule))) {
      continue;
    }
    const auto match = rule.match(facts);
    const auto effect = rule.effect_on(facts);
    if (match == Match::yes || (match == Match::unknown && effect == Effect::deny)) decision = {effect, number};
    if (match == Match::unknown && rule.effect == Effect::approve) {
      doubtful_question = std::min(doubtful_question.value_or(number), number);
    }
  }
  // Doubt only takes away: it asks about what would be allowed, not about what would be denied.
  const bool allowed_otherwise = decision.rule ? decision.allowed() : facts.credential.empty();
  if (doubtful_question && allowed_otherwise) return {Effect::approve, doubtful_question};
  return decision;
}

bool RuleSet::names_header(std::string_view name) const {
  return std::any_of(rules_.begin(), rules_.end(), [&](const Rule& rule) {
    return std::any_of(rule.headers.begin(), rule.headers.end(),
                       [&](const auto& header) { return http::same_field_name(header.first, name); });
  });
}

Decision RuleSet::decide_tunnel(const Facts& facts) const {
  Decision decision;
  for (std::size_t i = 0; i < rules_.size(); ++i) {
    const Rule& rule = rules_[i];
    if (!rule.may_be_about_tunnel(facts)) continue;
    const auto effect = rule.effect_on(facts);
    if (!decision.rule || effect > decision.effect) decision = {effect, i + 1};
  }
  return decision;
}

Questions RuleSet::questions(std::string_view method, std::string_view path) const {
  std::vector<std::uint32_t> candidates;
  index_.match(path, candidates);
  Questions questions;
  for (const auto id : candidates) {
    if (rules_[id].has_method(method)) questions.add(rules_[id].questions());
  }
  return questions;
}

std::string RuleSet::explain(const Decision& decision) const {
  if (!decision.rule) return "no rule matches";
  const Rule& rule = rules_[*decision.rule - 1];
  const std::string where =
      rule.line > 0 ? "policy line " + std::to_string(rule.line) : "rule " + std::to_string(*decision.rule);
  return where + " (" + std::string(name_of(decision.effect)) + ")";
}

}  // namespace agentvault::policy
