#include "policy/rule.hpp"

#include <algorithm>

#include "base/encoding.hpp"
#include "base/text.hpp"

namespace agentvault::policy {
namespace {

/// Several answers about one request: no beats all, unknown beats yes.
class Conjunction {
 public:
  void add(Match match) {
    if (result_ == Match::no || match == Match::no) {
      result_ = Match::no;
    } else if (match == Match::unknown) {
      result_ = Match::unknown;
    }
  }
  Match result() const { return result_; }

 private:
  Match result_ = Match::yes;
};

using FormFields = std::map<std::string, std::vector<std::string>>;

/// Or what some readers take for a member of it: "user.role" of user.
bool has_alike(const FormFields& fields, std::string_view name) {
  return std::any_of(fields.begin(), fields.end(), [&](const auto& field) {
    const std::string_view sent = field.first;
    return reads_as(sent, name) || reads_as(sent.substr(0, sent.find('.')), name);
  });
}

Match match_query(const std::optional<FormFields>& query, const Content* body,
                  const std::map<std::string, Values>& wanted) {
  Conjunction all;
  for (const auto& [name, values] : wanted) {
    const bool twice = body != nullptr && body->may_hold(name);
    all.add(query && !twice ? match_field(*query, name, values) : Match::unknown);
  }
  return all.result();
}

Match match_header(const http::Fields* fields, const std::string& name, const Values& values) {
  const http::Field* found = nullptr;
  if (fields != nullptr) {
    for (const auto& field : fields->list()) {
      if (!http::same_field_name(field.name, name)) continue;
      if (found != nullptr || !equal_ignoring_case(field.name, name)) return Match::unknown;
      found = &field;
    }
  }
  return found == nullptr ? values.match_missing() : values.match_text(found->value);
}

/// It may also stand in the query (GraphQL over HTTP, GET). Documents that the server has stored are named in many
/// ways: no other fields than those of the specification.
std::optional<GraphqlRequest> graphql_of(const Facts& facts) {
  auto request = facts.content != nullptr ? facts.content->graphql() : std::nullopt;
  if (!request || facts.query == nullptr) return request;
  const auto fields = read_form(*facts.query);
  if (!fields) return std::nullopt;
  for (const auto& [name, values] : *fields) {
    if (name != "query" && name != "operationName" && name != "variables") return std::nullopt;
    if (values.size() != 1) return std::nullopt;
    if (name != "query") continue;
    const auto found = read_graphql(values.front());
    if (!found) return std::nullopt;
    request->add(*found);
  }
  return request;
}

/// A rule that allows must list all of them, one that denies any.
template <class Items, class IsListed>
Match match_listed(const Items& items, bool all, const IsListed& is_listed) {
  const bool yes =
      all ? std::all_of(items.begin(), items.end(), is_listed) : std::any_of(items.begin(), items.end(), is_listed);
  return yes ? Match::yes : Match::no;
}

Match match_graphql(const Facts& facts, const GraphqlTerms& terms, bool all) {
  constexpr std::string_view own_name = "__typename";  // which clients add by themselves, and which tells nothing
  const auto request = graphql_of(facts);
  if (!request) return Match::unknown;
  if (request->kinds.empty()) return Match::no;
  const auto in_list = [](const std::vector<std::string>& globs, const std::string& text) {
    return std::any_of(globs.begin(), globs.end(), [&](const auto& glob) { return glob_matches(glob, text); });
  };
  Conjunction matches;
  if (!terms.kinds.empty()) {
    matches.add(match_listed(request->kinds, all, [&](Operation kind) { return terms.kinds.contains(kind); }));
  }
  if (!terms.names.empty()) {
    // One without a name is none that is listed, whatever the list says.
    const auto is_listed = [&](const auto& name) { return !name.empty() && in_list(terms.names, name); };
    matches.add(match_listed(request->names, all, is_listed));
  }
  if (!terms.fields.empty()) {
    const auto is_listed = [&](const auto& field) {
      return in_list(terms.fields, field) || (all && field == own_name);
    };
    matches.add(match_listed(request->fields, all, is_listed));
  }
  return matches.result();
}

/// A rule with `max_body` is about requests that are no larger.
Match match_size(const std::optional<std::uint64_t>& size, std::uint64_t most) {
  if (!size) return Match::unknown;
  return *size <= most ? Match::yes : Match::no;
}

/// Values of two kinds have no relation that all readers agree about.
Match match_relation(const Content& content, const Relation& relation) {
  if (content.is_missing()) return Match::no;
  if (!content.is_readable_json() || content.is_ambiguous(relation.left) || content.is_ambiguous(relation.right)) {
    return Match::unknown;
  }
  const auto* left = content.scalar(relation.left);
  const auto* right = content.scalar(relation.right);
  if (left == nullptr || right == nullptr) return Match::no;
  if (left->index() != right->index() || std::holds_alternative<std::monostate>(*left)) return Match::unknown;
  if (relation.kind == Relation::Kind::equals) return *left == *right ? Match::yes : Match::no;
  const auto* number = std::get_if<double>(left);
  if (number == nullptr) return Match::unknown;
  return *number <= std::get<double>(*right) ? Match::yes : Match::no;
}

Match match_contents(const Rule& rule, const Facts& facts) {
  Conjunction all;
  const bool asks_for_fields =
      !rule.query.empty() || !rule.form.empty() || !rule.body.empty() || !rule.relations.empty();
  const auto query = asks_for_fields ? read_form(facts.query != nullptr ? *facts.query : "") : std::nullopt;
  const auto in_query = [&](std::string_view name) { return !query || has_alike(*query, name); };
  if (!rule.query.empty()) all.add(match_query(query, facts.content, rule.query));
  for (const auto& [name, values] : rule.headers) all.add(match_header(facts.fields, name, values));
  // Where both hold a field, some servers prefer the one and some the other.
  const auto content = [&](std::string_view field, const auto& ask) {
    return facts.content != nullptr && !in_query(field) ? ask(*facts.content) : Match::unknown;
  };
  for (const auto& [name, values] : rule.form) {
    all.add(content(name, [&, &n = name, &v = values](const Content& c) { return c.form(n, v); }));
  }
  for (const auto& [pointer, values] : rule.body) {
    all.add(content(first_member(pointer), [&, &p = pointer, &v = values](const Content& c) {
      return c.json(p, v, rule.effect == Effect::allow);
    }));
  }
  for (const auto& relation : rule.relations) {
    for (const auto& place : {relation.left, relation.right}) {
      all.add(content(first_member(place), [&](const Content& c) { return match_relation(c, relation); }));
    }
  }
  if (!rule.graphql.empty()) all.add(match_graphql(facts, rule.graphql, rule.effect == Effect::allow));
  if (rule.max_body) all.add(match_size(facts.body_size, *rule.max_body));
  return all.result();
}

template <class List>
void add_list(std::vector<std::string>& parts, const char* name, const List& list) {
  if (!list.empty()) parts.push_back(std::string(name) + " " + printable(join(list, "|")));
}

void add_values(std::vector<std::string>& parts, const char* name, const std::map<std::string, Values>& all) {
  for (const auto& [key, values] : all) {
    parts.push_back(std::string(name) + " " + printable(key) + "=" + describe(values));
  }
}

std::string operation_name(Operation operation) {
  return operation == Operation::query ? "query" : operation == Operation::mutation ? "mutation" : "subscription";
}

std::string describe(const ApproveWhen& when) {
  std::vector<std::string> parts;
  if (when.first_host) parts.emplace_back("a host is new");
  if (when.first_path) parts.emplace_back("a path is new");
  if (when.denials_per_minute) {
    parts.push_back(std::to_string(*when.denials_per_minute) + " denials in a minute");
  }
  if (when.hours) parts.push_back("it is " + when.hours->text());
  return join(parts, " or ");
}

}  // namespace

std::string_view name_of(Effect effect) {
  switch (effect) {
    case Effect::allow:
      return "allow";
    case Effect::approve:
      return "approve";
    case Effect::deny:
      return "deny";
  }
  return "deny";
}

bool may_mean_another_method(const Facts& facts) {
  if (facts.query != nullptr && names_method(*facts.query)) return true;
  return equal_ignoring_case(facts.method, "POST") && facts.content != nullptr && facts.content->may_name_method();
}

bool ApproveWhen::holds(const Facts& facts) const {
  return (first_host && facts.history.first_host) || (first_path && facts.history.first_path) ||
         (denials_per_minute && facts.history.denials >= *denials_per_minute) || (hours && hours->holds(facts.time));
}

bool Rule::concerns(std::string_view credential) const {
  return credentials.empty() || std::find(credentials.begin(), credentials.end(), credential) != credentials.end();
}

bool Rule::has_method(std::string_view method) const {
  return methods.empty() || std::any_of(methods.begin(), methods.end(), [&](const auto& listed) {
           return listed == "*" || listed == method || (effect != Effect::allow && equal_ignoring_case(listed, method));
         });
}

bool Rule::has_host(std::string_view host) const {
  return hosts.empty() || std::any_of(hosts.begin(), hosts.end(), [&](const auto& listed) {
           return listed.starts_with("*.") ? host.ends_with(std::string_view(listed).substr(1)) : host == listed;
         });
}

Match Rule::match(const Facts& facts) const {
  if (!concerns(facts.credential) || !has_host(facts.host)) return Match::no;
  const bool in_doubt = facts.method_in_doubt && !methods.empty() && !has_method("*");
  if (!in_doubt && !has_method(facts.method)) return Match::no;
  if (hours && !hours->holds(facts.time)) return Match::no;
  const Match contents = match_contents(*this, facts);
  return in_doubt && contents == Match::yes ? Match::unknown : contents;
}

bool Rule::holds(const Facts& facts) const {
  const Match found = match(facts);
  return found == Match::yes || (found == Match::unknown && effect != Effect::allow);
}

bool Rule::may_be_about_tunnel(const Facts& facts) const {
  if (!concerns(facts.credential) || !has_host(facts.host) || (hours && !hours->holds(facts.time))) return false;
  // A rule about every host is one about requests that can be read.
  if (effect != Effect::allow)
    return !hosts.empty() ||
           (methods.empty() && paths.empty() && !questions().body && query.empty() && headers.empty());
  return methods.empty() && paths.empty() && query.empty() && headers.empty() && !questions().body;
}

Effect Rule::effect_on(const Facts& facts) const {
  return effect == Effect::allow && approve_when && approve_when->holds(facts) ? Effect::approve : effect;
}

Questions Rule::questions() const {
  Questions questions;
  for (const auto& [pointer, values] : body) questions.pointers.insert(pointer);
  for (const auto& relation : relations) questions.pointers.insert({relation.left, relation.right});
  questions.graphql = !graphql.empty();
  questions.fields = !query.empty();
  // Who is asked is asked about all of it.
  questions.body = effect == Effect::approve || approve_when || !body.empty() || !relations.empty() || !form.empty() ||
                   !graphql.empty() || max_body;
  return questions;
}

std::string describe(const Rule& rule) {
  std::vector<std::string> parts{std::string(name_of(rule.effect))};
  parts.push_back(rule.methods.empty() ? "*" : join(rule.methods, "|"));
  for (const auto& pattern : rule.paths) parts.push_back(printable(pattern.text()));
  add_list(parts, "credential", rule.credentials);
  add_list(parts, "host", rule.hosts);
  add_values(parts, "query", rule.query);
  add_values(parts, "header", rule.headers);
  add_values(parts, "form", rule.form);
  add_values(parts, "body", rule.body);
  for (const auto& [kind, left, right] : rule.relations) {
    parts.push_back("body " + printable(left) + (kind == Relation::Kind::equals ? " equals " : " at most ") +
                    printable(right));
  }
  std::vector<std::string> operations;
  for (const auto operation : rule.graphql.kinds) operations.push_back(operation_name(operation));
  add_list(parts, "graphql", operations);
  add_list(parts, "graphql operation", rule.graphql.names);
  add_list(parts, "graphql field", rule.graphql.fields);
  if (rule.max_body) parts.push_back("body <=" + std::to_string(*rule.max_body) + " bytes");
  if (rule.hours) parts.push_back("at " + rule.hours->text());
  if (rule.approve_when) parts.push_back("approve when " + describe(*rule.approve_when));
  return join(parts, " ");
}

}  // namespace agentvault::policy
