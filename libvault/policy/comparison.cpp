#include "policy/comparison.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "base/encoding.hpp"
#include "base/text.hpp"
#include "policy/witness.hpp"

namespace agentvault::policy {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMostCombinations = 20'000;  // for one method and kind of path
constexpr const char* kOtherMethods[]{"PATCH", "PURGE", "X-OTHER"};

/// What can stand in one place of a request, as far as the rules can tell it apart.
struct Choice {
  enum class Kind { missing, text, number, flag, odd } kind = Kind::missing;
  std::string text;
  double number = 0;
  bool flag = false;
};

/// All of the request but method and path.
struct Draft {
  enum class Body { none, json, form, other } body = Body::none;
  std::map<std::string, Choice> query, headers, form, fields;  // fields: by JSON pointer
  std::optional<std::set<Operation>> operations;               // of a GraphQL document; nothing: none is asked for
  bool odd_document = false;
  std::optional<std::uint64_t> size;
  LocalTime time{12 * 60, 1};
  History history;
};

/// One thing to vary: each of its settings changes the draft.
using Setting = std::function<void(Draft&)>;
using Dimension = std::vector<Setting>;

void add_unique(std::vector<Choice>& choices, std::vector<std::vector<Match>>& seen, Choice choice,
                std::vector<Match> answers) {
  if (std::find(seen.begin(), seen.end(), answers) != seen.end()) return;
  seen.push_back(std::move(answers));
  choices.push_back(std::move(choice));
}

std::string number_text(double number) {
  return Json(number == std::floor(number) && std::abs(number) < 1e15 ? Json(static_cast<std::int64_t>(number))
                                                                      : Json(number))
      .dump();
}

std::vector<double> telling_numbers(const std::vector<const Values*>& all) {
  std::set<double> borders;
  for (const auto* values : all) {
    borders.insert(values->numbers.begin(), values->numbers.end());
    if (values->least) borders.insert(*values->least);
    if (values->most) borders.insert(*values->most);
  }
  std::set<double> numbers = borders;
  for (const double border : borders) {
    numbers.insert(border - 1);
    numbers.insert(border + 1);
    numbers.insert(border + 0.5);
  }
  if (borders.empty()) return {};
  return {numbers.begin(), numbers.end()};
}

/// One choice for every way in which the values can answer.
std::vector<Choice> telling_choices(const std::vector<const Values*>& all, bool is_json, bool& complete) {
  std::vector<Choice> choices;
  std::vector<std::vector<Match>> seen;
  const auto add = [&](const Choice& choice, auto answer) {
    std::vector<Match> answers;
    for (const auto* values : all) answers.push_back(answer(*values));
    add_unique(choices, seen, choice, std::move(answers));
  };
  const auto add_text = [&](const std::string& text) {
    add({Choice::Kind::text, text, 0, false},
        [&](const Values& values) { return is_json ? values.match(Scalar(text)) : values.match_text(text); });
  };
  std::vector<std::string> globs;
  for (const auto* values : all) globs.insert(globs.end(), values->texts.begin(), values->texts.end());
  const auto witnesses = text_witnesses(globs);
  complete = complete && witnesses.complete;
  for (const auto& witness : witnesses.all) add_text(witness.text);
  for (const double number : telling_numbers(all)) {
    if (is_json) {
      add({Choice::Kind::number, "", number, false},
          [&](const Values& values) { return values.match(Scalar(number)); });
    } else {
      add_text(number_text(number));
    }
  }
  for (const bool flag : {true, false}) {
    if (is_json) {
      add({Choice::Kind::flag, "", 0, flag}, [&](const Values& values) { return values.match(Scalar(flag)); });
    } else {
      add_text(flag ? "true" : "false");
    }
  }
  add({}, [](const Values& values) { return values.match_missing(); });
  add({Choice::Kind::odd, "", 0, false}, [](const Values&) { return Match::unknown; });
  return choices;
}

std::string encoded(const std::string& text) {
  std::string out;
  static constexpr char digits[] = "0123456789ABCDEF";
  for (const char c : text) {
    if (is_alphanumeric(c) || c == '-' || c == '_' || c == '.' || c == '~') {
      out.push_back(c);
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += {'%', digits[byte >> 4], digits[byte & 15]};
    }
  }
  return out;
}

std::string form_text(const std::map<std::string, Choice>& fields) {
  std::string out;
  const auto add = [&](const std::string& name, const std::string& value) {
    out += (out.empty() ? "" : "&") + encoded(name) + "=" + encoded(value);
  };
  for (const auto& [name, choice] : fields) {
    if (choice.kind == Choice::Kind::text) add(name, choice.text);
    if (choice.kind != Choice::Kind::odd) continue;
    add(name, "1");
    add(name, "2");
  }
  return out;
}

std::string document_of(const std::set<Operation>& operations) {
  std::string out;
  if (operations.contains(Operation::query)) out += "query A { a } ";
  if (operations.contains(Operation::mutation)) out += "mutation B { b } ";
  if (operations.contains(Operation::subscription)) out += "subscription C { c } ";
  return out;
}

std::string json_text(const Draft& draft) {
  Json body = Json::object();
  for (const auto& [pointer, choice] : draft.fields) {
    try {
      auto& place = body[Json::json_pointer(pointer)];
      if (choice.kind == Choice::Kind::text) place = choice.text;
      if (choice.kind == Choice::Kind::number) place = Json::parse(number_text(choice.number));
      if (choice.kind == Choice::Kind::flag) place = choice.flag;
      if (choice.kind == Choice::Kind::odd) place = nullptr;
      if (choice.kind == Choice::Kind::missing) {
        const Json::json_pointer whole(pointer);
        auto& parent = body.at(whole.parent_pointer());
        if (parent.is_object()) parent.erase(whole.back());
      }
    } catch (const Json::exception&) {  // one place inside of another: then only one of them can be filled
    }
  }
  if (draft.odd_document) body["query"] = "{";
  if (draft.operations && !draft.odd_document) body["query"] = document_of(*draft.operations);
  return body.dump();
}

Example example_of(const std::string& method, const std::string& path, const Draft& draft) {
  Example example;
  example.method = method;
  example.path = path;
  example.query = form_text(draft.query);
  for (const auto& [name, choice] : draft.headers) {
    if (choice.kind == Choice::Kind::text) example.fields.add(name, choice.text);
    if (choice.kind != Choice::Kind::odd) continue;
    example.fields.add(name, "1");
    example.fields.add(name, "2");
  }
  if (draft.body == Draft::Body::json) {
    example.fields.add("Content-Type", "application/json");
    example.body = json_text(draft);
  } else if (draft.body == Draft::Body::form) {
    example.fields.add("Content-Type", "application/x-www-form-urlencoded");
    example.body = form_text(draft.form);
  } else if (draft.body == Draft::Body::other) {
    example.fields.add("Content-Type", "text/plain");
    example.body = "x";
  }
  example.body_size = draft.size.value_or(example.body ? example.body->size() : 0);
  if (!example.body && example.body_size > 0) example.body_size = 0;
  example.time = draft.time;
  example.history = draft.history;
  return example;
}

Decision decide(const RuleSet& rules, const Example& example, const std::string& credential, const std::string& host) {
  const auto content =
      example.body ? Content(example.fields, &*example.body, rules.questions(example.method, example.path)) : Content();
  Facts facts;
  facts.credential = credential;
  facts.host = host;
  facts.method = example.method;
  facts.path = example.path;
  facts.query = example.query.empty() ? nullptr : &example.query;
  facts.fields = &example.fields;
  facts.content = &content;
  facts.body_size = example.body_size;
  facts.time = example.time;
  facts.history = example.history;
  return rules.decide(facts);
}

using Named = std::map<std::string, std::vector<const Values*>>;

void collect(Named& all, const std::map<std::string, Values>& of_rule) {
  for (const auto& [name, values] : of_rule) {
    auto& list = all[name];
    const bool known =
        std::any_of(list.begin(), list.end(), [&wanted = values](const auto* other) { return *other == wanted; });
    if (!known) list.push_back(&values);
  }
}

void add_fields(std::vector<Dimension>& dimensions, const Named& named, bool is_json,
                std::map<std::string, Choice> Draft::*place, bool& complete) {
  for (const auto& [name, values] : named) {
    Dimension dimension;
    for (auto& choice : telling_choices(values, is_json, complete)) {
      dimension.push_back([=, &n = name](Draft& draft) { (draft.*place)[n] = choice; });
    }
    dimensions.push_back(std::move(dimension));
  }
}

/// Everything about requests that these rules look at.
class Space {
 public:
  explicit Space(const std::vector<const Rule*>& rules) {
    for (const auto* rule : rules) {
      collect(query_, rule->query);
      collect(headers_, rule->headers);
      collect(form_, rule->form);
      collect(body_, rule->body);
      graphql_ = graphql_ || !rule->graphql.empty();
      if (rule->max_body) sizes_.insert(*rule->max_body);
      if (rule->hours) schedules_.push_back(&*rule->hours);
      if (!rule->approve_when) continue;
      first_host_ = first_host_ || rule->approve_when->first_host;
      first_path_ = first_path_ || rule->approve_when->first_path;
      if (rule->approve_when->denials_per_minute) denials_.insert(*rule->approve_when->denials_per_minute);
      if (rule->approve_when->hours) schedules_.push_back(&*rule->approve_when->hours);
    }
  }

  /// Calls `visit` with one draft for each combination; false: there were too many.
  bool each(const std::function<void(const Draft&)>& visit) const {
    bool complete = true;
    const bool reads_body = !form_.empty() || !body_.empty() || graphql_;
    std::vector<Draft::Body> kinds{Draft::Body::none};
    if (!body_.empty() || graphql_) kinds.push_back(Draft::Body::json);
    if (!form_.empty()) kinds.push_back(Draft::Body::form);
    if (reads_body || !sizes_.empty()) kinds.push_back(Draft::Body::other);
    std::size_t left = kMostCombinations;
    for (const auto kind : kinds) {
      Draft draft;
      draft.body = kind;
      const auto dimensions = dimensions_of(kind, complete);
      complete = walk(dimensions, 0, draft, left, visit) && complete;
    }
    return complete;
  }

 private:
  std::vector<Dimension> dimensions_of(Draft::Body kind, bool& complete) const {
    std::vector<Dimension> dimensions;
    add_fields(dimensions, query_, false, &Draft::query, complete);
    add_fields(dimensions, headers_, false, &Draft::headers, complete);
    if (kind == Draft::Body::form) add_fields(dimensions, form_, false, &Draft::form, complete);
    if (kind == Draft::Body::json) {
      add_fields(dimensions, body_, true, &Draft::fields, complete);
      if (graphql_) dimensions.push_back(documents());
    }
    if (kind != Draft::Body::none && !sizes_.empty()) {
      Dimension sizes;
      for (const auto size : sizes_) {
        for (const auto value : {size, size + 1}) {
          if (value > 0) sizes.push_back([=](Draft& draft) { draft.size = value; });
        }
      }
      dimensions.push_back(std::move(sizes));
    }
    if (!schedules_.empty()) dimensions.push_back(times());
    add_history(dimensions);
    return dimensions;
  }

  static Dimension documents() {
    Dimension dimension;
    for (unsigned subset = 1; subset < 8; ++subset) {
      std::set<Operation> operations;
      if ((subset & 1) != 0) operations.insert(Operation::query);
      if ((subset & 2) != 0) operations.insert(Operation::mutation);
      if ((subset & 4) != 0) operations.insert(Operation::subscription);
      dimension.push_back([=](Draft& draft) { draft.operations = operations; });
    }
    dimension.push_back([](Draft& draft) { draft.odd_document = true; });
    return dimension;
  }

  Dimension times() const {
    std::set<int> minutes{12 * 60};
    for (const auto* schedule : schedules_) {
      for (const int border : {schedule->from, schedule->until}) minutes.insert(border % Schedule::kMinutesOfDay);
    }
    Dimension dimension;
    std::set<std::vector<bool>> seen;
    for (int weekday = 0; weekday < 7; ++weekday) {
      for (const int minute : minutes) {
        std::vector<bool> answers;
        for (const auto* schedule : schedules_) answers.push_back(schedule->holds({minute, weekday}));
        if (!seen.insert(answers).second) continue;
        dimension.push_back([=](Draft& draft) { draft.time = {minute, weekday}; });
      }
    }
    return dimension;
  }

  void add_history(std::vector<Dimension>& dimensions) const {
    if (first_host_) {
      dimensions.push_back({[](Draft&) {}, [](Draft& draft) { draft.history.first_host = true; }});
    }
    if (first_path_) {
      dimensions.push_back({[](Draft&) {}, [](Draft& draft) { draft.history.first_path = true; }});
    }
    if (denials_.empty()) return;
    Dimension denials{[](Draft&) {}};
    for (const auto count : denials_) denials.push_back([=](Draft& draft) { draft.history.denials = count; });
    dimensions.push_back(std::move(denials));
  }

  bool walk(const std::vector<Dimension>& dimensions, std::size_t at, const Draft& draft, std::size_t& left,
            const std::function<void(const Draft&)>& visit) const {
    if (at == dimensions.size()) {
      if (left == 0) return false;
      --left;
      visit(draft);
      return true;
    }
    for (const auto& setting : dimensions[at]) {
      Draft next = draft;
      setting(next);
      if (!walk(dimensions, at + 1, next, left, visit)) return false;
    }
    return true;
  }

  Named query_, headers_, form_, body_;
  bool graphql_ = false;
  std::set<std::uint64_t> sizes_;
  std::vector<const Schedule*> schedules_;
  bool first_host_ = false;
  bool first_path_ = false;
  std::set<unsigned> denials_;
};

std::vector<std::string> telling_methods(const std::vector<const Rule*>& rules) {
  std::set<std::string> methods{"GET"};
  for (const auto* rule : rules) {
    for (const auto& method : rule->methods) {
      if (method != "*") methods.insert(method);
    }
  }
  std::vector<std::string> out(methods.begin(), methods.end());
  for (const char* other : kOtherMethods) {
    if (!methods.insert(other).second) continue;
    out.emplace_back(other);
    break;
  }
  return out;
}

/// Calls `visit` with an example for every way in which the rules can judge a request. False: too many ways.
bool each_example(const std::vector<const Rule*>& rules, const std::function<void(const Example&)>& visit) {
  std::vector<http::PathPattern> patterns;
  for (const auto* rule : rules) {
    for (const auto& pattern : rule->paths) {
      const auto known = std::find(patterns.begin(), patterns.end(), pattern);
      if (known == patterns.end()) patterns.push_back(pattern);
    }
  }
  const auto paths = path_witnesses(patterns);
  bool complete = paths.complete;
  for (const auto& path : paths.all) {
    const auto fits = [&](const Rule& rule) {
      if (rule.paths.empty()) return true;
      for (std::size_t i = 0; i < patterns.size(); ++i) {
        if (path.matches[i] && std::find(rule.paths.begin(), rule.paths.end(), patterns[i]) != rule.paths.end())
          return true;
      }
      return false;
    };
    for (const auto& method : telling_methods(rules)) {
      std::vector<const Rule*> relevant;
      for (const auto* rule : rules) {
        if (rule->has_method(method) && fits(*rule)) relevant.push_back(rule);
      }
      if (relevant.empty()) continue;
      complete =
          Space(relevant).each([&](const Draft& draft) { visit(example_of(method, path.text, draft)); }) && complete;
    }
  }
  return complete;
}

std::vector<const Rule*> pointers(const std::vector<Rule>& first, const std::vector<Rule>& second) {
  std::vector<const Rule*> all;
  for (const auto* rules : {&first, &second}) {
    for (const auto& rule : *rules) all.push_back(&rule);
  }
  return all;
}

}  // namespace

std::string Example::text() const {
  std::string out = method + " " + path + (query.empty() ? "" : "?" + query);
  for (const auto& field : fields.list()) out += ", " + field.name + ": " + field.value;
  if (body) out += ", body " + (body_size == body->size() ? *body : "of " + std::to_string(body_size) + " bytes");
  if (time.minute != 12 * 60 || time.weekday != 1) {
    static constexpr const char* days[]{"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
    const auto two = [](int n) { return (n < 10 ? "0" : "") + std::to_string(n); };
    out += ", at " + two(time.minute / 60) + ":" + two(time.minute % 60) + " " + days[time.weekday];
  }
  if (history.first_host) out += ", to a new host";
  if (history.first_path) out += ", to a new path";
  if (history.denials > 0) out += ", after " + std::to_string(history.denials) + " denials";
  return out;
}

Comparison widenings(const std::vector<Rule>& before, const std::vector<Rule>& after, const std::string& credential,
                     const std::string& host) {
  const RuleSet old_rules(before);
  const RuleSet new_rules(after);
  Comparison out;
  std::set<std::tuple<std::size_t, Effect, Effect>> seen;
  out.complete = each_example(pointers(before, after), [&](const Example& example) {
    const auto was = decide(old_rules, example, credential, host);
    const auto is = decide(new_rules, example, credential, host);
    if (is.effect >= was.effect || !seen.insert({is.rule.value_or(0), was.effect, is.effect}).second) return;
    out.widened.push_back({was.effect, is.effect, describe(after[*is.rule - 1]), example});
  });
  return out;
}

Comparison permitted(const std::vector<Rule>& rules, const Rule& claim, bool asked, const std::string& credential,
                     const std::string& host) {
  const RuleSet set(rules);
  const std::vector<Rule> claimed{claim};
  const RuleSet region(claimed);
  Comparison out;
  std::set<std::pair<std::size_t, Effect>> seen;
  out.complete = each_example(pointers(rules, claimed), [&](const Example& example) {
    if (decide(region, example, credential, host).effect == Effect::deny) return;
    const auto is = decide(set, example, credential, host);
    if (is.effect == Effect::deny || (is.effect == Effect::approve && !asked)) return;
    if (!seen.insert({is.rule.value_or(0), is.effect}).second) return;
    out.widened.push_back({Effect::deny, is.effect, describe(rules[*is.rule - 1]), example});
  });
  return out;
}

}  // namespace agentvault::policy
