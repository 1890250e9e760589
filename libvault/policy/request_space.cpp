#include "policy/request_space.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/encoding.hpp"
#include "base/text.hpp"
#include "policy/telling_values.hpp"
#include "policy/witness.hpp"

namespace agentvault::policy {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMostCombinations = 40'000;
constexpr std::size_t kMostInLists = 6;  // elements that rules tell apart: every selection of them is tried
constexpr std::string_view kStep = "/*";
constexpr const char* kOtherMethods[]{"PATCH", "PURGE", "X-OTHER"};

/// All of the request but method and path.
struct Draft {
  enum class Body { none, json, form, graphql, other } body = Body::none;
  std::map<std::string, Choice> query, headers, form, fields;  // fields: by JSON pointer
  std::map<std::string, std::vector<Choice>> lists;            // likewise: one for each element
  std::optional<std::string> document;                         // of GraphQL; nothing: none is asked for
  bool is_list = false;                                        // the JSON is a list, not an object
  std::optional<std::uint64_t> size;
  bool or_more = false;  // that size, or what the content needs
  LocalTime time{12 * 60, 1};
  History history;
};

/// One thing to vary: each of its settings changes the draft.
using Setting = std::function<void(Draft&)>;
using Dimension = std::vector<Setting>;

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

Json number_json(double number) {
  constexpr double whole = 1e15;
  return number == std::floor(number) && std::abs(number) < whole ? Json(static_cast<std::int64_t>(number))
                                                                  : Json(number);
}

bool is_index(const std::string& segment) {
  return segment == kEvery || parse_unsigned(segment).has_value();
}

/// The list's own pointer, and what is looked at in its elements: "/tools" and "/type" of "/tools/*/type".
std::pair<std::string, std::string> parts_of(const std::string& pointer) {
  std::size_t star = pointer.find(kStep);
  while (star + kStep.size() < pointer.size() && pointer[star + kStep.size()] != '/') {
    star = pointer.find(kStep, star + 1);
  }
  return {pointer.substr(0, star), pointer.substr(star + kStep.size())};
}

void put(Json& place, const Choice& choice) {
  if (choice.kind == Choice::Kind::text) place = choice.text;
  if (choice.kind == Choice::Kind::number) place = number_json(choice.number);
  if (choice.kind == Choice::Kind::flag) place = choice.flag;
  if (choice.kind == Choice::Kind::odd) place = nullptr;
}

void put_list(Json& body, const std::string& pointer, const std::vector<Choice>& choices) {
  const auto [list, rest] = parts_of(pointer);
  auto& place = body[Json::json_pointer(list)];
  if (place.is_null()) place = Json::array();
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (place.size() <= i) place.push_back(rest.empty() ? Json() : Json::object());
    if (choices[i].kind != Choice::Kind::missing) put(place[i][Json::json_pointer(rest)], choices[i]);
  }
}

/// `complete` becomes false where two places cannot be in one body.
std::string json_text(const Draft& draft, bool& complete) {
  Json body = draft.is_list ? Json::array() : Json::object();
  for (const auto& [pointer, choice] : draft.fields) {
    try {
      put(body[Json::json_pointer(pointer)], choice);
      if (choice.kind == Choice::Kind::missing) {
        const Json::json_pointer whole(pointer);
        auto& parent = body.at(whole.parent_pointer());
        if (parent.is_object()) parent.erase(whole.back());
      }
    } catch (const Json::exception&) {  // one place inside of another: then only one of them can be filled
      complete = false;
    }
  }
  for (const auto& [pointer, choices] : draft.lists) {
    try {
      put_list(body, pointer, choices);
    } catch (const Json::exception&) {
      complete = false;
    }
  }
  if (draft.document && body.is_object()) body["query"] = *draft.document;
  return body.dump();
}

constexpr const char* kContentType = "content-type";

/// What a body takes at least that is judged as this one: the example may write numbers and documents in more bytes
/// than need be.
std::uint64_t least_size(const Draft& draft) {
  constexpr std::uint64_t braces = 2;
  constexpr std::uint64_t quotes_and_colon = 3;
  constexpr std::uint64_t least_document = 3;  // "{a}"
  const auto value_size = [](const Choice& choice, bool is_json) -> std::uint64_t {
    if (choice.kind == Choice::Kind::text && is_json) return choice.text.size() + 2;
    // In a form a number is a text, and another one may be shorter.
    const bool is_number = !choice.text.empty() && (is_digit(choice.text.front()) || choice.text.front() == '-');
    if (choice.kind == Choice::Kind::text) return is_number ? 1 : choice.text.size();
    return choice.kind == Choice::Kind::odd && is_json ? 2 : 1;
  };
  std::uint64_t size = 0;
  if (draft.body == Draft::Body::json) {
    size = braces + (draft.document ? least_document : 0);
    for (const auto& [pointer, choice] : draft.fields) {
      if (choice.kind == Choice::Kind::missing) continue;
      const auto key = Json::json_pointer(pointer).back();
      size += value_size(choice, true) + (is_index(key) ? 0 : key.size() + quotes_and_colon);
    }
  } else if (draft.body == Draft::Body::form) {
    for (const auto& [name, choice] : draft.form) {
      if (choice.kind != Choice::Kind::missing) size += name.size() + 1;
      if (choice.kind == Choice::Kind::text) size += value_size(choice, false);
    }
  } else if (draft.body == Draft::Body::graphql) {
    size = least_document;
  }
  return size;
}

/// Nothing where the draft is of no request: its size is smaller than its content.
std::optional<Example> example_of(const std::string& method, const std::string& path, const Draft& draft,
                                  bool& complete) {
  Example example;
  example.method = method;
  example.path = path;
  example.query = form_text(draft.query);
  if (draft.body == Draft::Body::none && draft.document) {
    example.query += (example.query.empty() ? "" : "&") + std::string("query=") + encoded(*draft.document);
  }
  for (const auto& [name, choice] : draft.headers) {
    if (choice.kind == Choice::Kind::text) example.fields.add(name, choice.text);
    if (choice.kind != Choice::Kind::odd) continue;
    example.fields.add(name, "1");
    example.fields.add(name, "2");
  }
  const bool says_type = std::any_of(draft.headers.begin(), draft.headers.end(), [](const auto& header) {
    return equal_ignoring_case(header.first, kContentType);
  });
  const auto set = [&](const char* type, std::string body) {
    if (!says_type) example.fields.add("Content-Type", type);
    example.body = std::move(body);
  };
  if (draft.body == Draft::Body::json) set("application/json", json_text(draft, complete));
  if (draft.body == Draft::Body::form) set("application/x-www-form-urlencoded", form_text(draft.form));
  if (draft.body == Draft::Body::graphql) set("application/graphql", draft.document.value_or("{"));
  if (draft.body == Draft::Body::other) set("text/plain", "x");
  example.time = draft.time;
  example.history = draft.history;
  if (!example.body) return example;
  const std::uint64_t needed = example.body->size();
  if (draft.size && *draft.size < needed && !draft.or_more) {
    if (*draft.size >= least_size(draft)) complete = false;
    return std::nullopt;
  }
  example.body_size = std::max(draft.size.value_or(0), needed);
  return example;
}

/// At least one for each way in which a body is read, and more of JSON's.
constexpr const char* kTypes[]{
    "application/json",    "application/json; charset=utf-8",   "application/vnd.api+json",
    "application/graphql", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
    "text/plain"};

/// How the body is read depends on this header as well: all types are tried, also those that the rules do not tell
/// apart.
void add_types(Dimension& dimension, const std::string& header, const std::vector<const Values*>& values,
               bool& complete) {
  for (const char* type : kTypes) {
    dimension.push_back([=](Draft& draft) { draft.headers[header] = {Choice::Kind::text, type, 0, false}; });
  }
  for (const auto* one : values) {
    for (const auto& glob : one->texts) {
      const auto star = glob.find('*');
      const auto stem = glob.substr(0, star);
      const bool begins_a_type = std::any_of(std::begin(kTypes), std::end(kTypes), [&](const char* type) {
        return std::string_view(type).starts_with(stem);
      });
      if (star != std::string::npos && (star + 1 < glob.size() || !begins_a_type)) complete = false;
    }
  }
}

using Named = std::map<std::string, std::vector<const Values*>>;

void collect(Named& all, const std::string& name, const Values& values) {
  auto& list = all[name];
  const bool known = std::any_of(list.begin(), list.end(), [&](const auto* other) { return *other == values; });
  if (!known) list.push_back(&values);
}
void collect(Named& all, const std::map<std::string, Values>& of_rule) {
  for (const auto& [name, values] : of_rule) collect(all, name, values);
}

void add_fields(std::vector<Dimension>& dimensions, const Named& named, bool is_json,
                std::map<std::string, Choice> Draft::*place, bool& complete) {
  for (const auto& [name, values] : named) {
    Dimension dimension;
    for (auto& choice : telling_choices(values, is_json, complete)) {
      dimension.push_back([=, &n = name](Draft& draft) { (draft.*place)[n] = choice; });
    }
    if (place == &Draft::headers && equal_ignoring_case(name, kContentType)) {
      add_types(dimension, name, values, complete);
    }
    dimensions.push_back(std::move(dimension));
  }
}

/// Rules look at which elements there are, not at how many: one list for each selection, and none at all. Pointers to
/// the same list, and lists in lists, are filled one beside the other, which is not everything.
void add_lists(std::vector<Dimension>& dimensions, const Named& named, bool& complete) {
  std::set<std::string> lists;
  for (const auto& [pointer, values] : named) {
    const auto [list, rest] = parts_of(pointer);
    if (!lists.insert(list).second || names_elements(rest)) complete = false;
    if (names_elements(rest)) continue;
    auto choices = telling_choices(values, true, complete);
    if (rest.empty()) std::erase_if(choices, [](const Choice& c) { return c.kind == Choice::Kind::missing; });
    if (choices.size() > kMostInLists) {
      complete = false;
      choices.resize(kMostInLists);
    }
    Dimension dimension{[](Draft&) {}};
    for (std::size_t selection = 0; selection < std::size_t{1} << choices.size(); ++selection) {
      std::vector<Choice> elements;
      for (std::size_t i = 0; i < choices.size(); ++i) {
        if ((selection >> i & 1) != 0) elements.push_back(choices[i]);
      }
      dimension.push_back([&name = pointer, elements](Draft& draft) { draft.lists[name] = elements; });
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
      for (const auto& [pointer, values] : rule->body) {
        collect(names_elements(pointer) ? elements_ : body_, pointer, values);
      }
      for (const auto& [pointer, values] : rule->body) {
        const auto first = first_member(pointer);
        (is_index(first) ? lists_ : objects_) = true;
      }
      relates_ = relates_ || !rule->relations.empty();
      if (!rule->graphql.empty()) graphql_.push_back(&rule->graphql);
      if (rule->max_body) sizes_.insert(*rule->max_body);
      if (rule->hours) schedules_.push_back(&*rule->hours);
      if (!rule->approve_when) continue;
      first_host_ = first_host_ || rule->approve_when->first_host;
      first_path_ = first_path_ || rule->approve_when->first_path;
      if (rule->approve_when->denials_per_minute) denials_.insert(*rule->approve_when->denials_per_minute);
      if (rule->approve_when->hours) schedules_.push_back(&*rule->approve_when->hours);
    }
  }

  /// Calls `visit` with one draft for each combination, `left` at most; false: there were too many.
  bool each(std::size_t& left, const std::function<void(const Draft&)>& visit) const {
    bool complete = true;
    const bool reads_json = !body_.empty() || !elements_.empty() || has_graphql();
    const bool reads_body = !form_.empty() || reads_json;
    std::vector<Draft::Body> kinds{Draft::Body::none};
    if (reads_json) kinds.push_back(Draft::Body::json);
    if (!form_.empty()) kinds.push_back(Draft::Body::form);
    if (has_graphql()) kinds.push_back(Draft::Body::graphql);
    if (reads_body || !sizes_.empty()) kinds.push_back(Draft::Body::other);
    // A document stands where other rules may look, too; a body is either a list or an object.
    const bool looks_at_document = query_.contains("query") || body_.contains("/query") || lists_;
    if ((has_graphql() && looks_at_document) || (lists_ && objects_)) complete = false;
    // Names of fields and operations: some of each, and not every selection of them.
    if (names_in_documents() || relates_) complete = false;
    for (const auto& [pointer, values] : elements_) {
      const auto list = parts_of(pointer).first;
      for (const auto& [other, ignored] : body_) complete = complete && !other.starts_with(list);
    }
    for (const auto kind : kinds) {
      Draft draft;
      draft.body = kind;
      draft.is_list = lists_;
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
    if (kind == Draft::Body::none) add_fields_of_bodies(dimensions);
    if (kind == Draft::Body::form) add_fields(dimensions, form_, false, &Draft::form, complete);
    if (kind == Draft::Body::json) {
      add_fields(dimensions, body_, true, &Draft::fields, complete);
      add_lists(dimensions, elements_, complete);
    }
    // Without a body it stands in the query; there need not be one.
    if (has_graphql() && (kind == Draft::Body::none || kind == Draft::Body::json || kind == Draft::Body::graphql)) {
      dimensions.push_back(documents());
      if (kind == Draft::Body::none) dimensions.back().push_back([](Draft&) {});
    }
    if (kind != Draft::Body::none && !sizes_.empty()) {
      Dimension sizes;
      for (const auto size : sizes_) {
        for (const auto value : {size, size + 1}) {
          if (value == 0) continue;
          sizes.push_back([=](Draft& draft) {
            draft.size = value;
            draft.or_more = value > size;
          });
        }
      }
      dimensions.push_back(std::move(sizes));
    }
    if (!schedules_.empty()) dimensions.push_back(times());
    add_history(dimensions);
    return dimensions;
  }

  /// In the query they count against rules about bodies.
  void add_fields_of_bodies(std::vector<Dimension>& dimensions) const {
    std::set<std::string> names;
    for (const auto& [name, values] : form_) names.insert(name);
    for (const auto* pointers : {&body_, &elements_}) {
      for (const auto& [pointer, values] : *pointers) names.insert(first_member(pointer));
    }
    for (const auto& name : names) {
      if (query_.contains(name)) continue;
      dimensions.push_back({[](Draft&) {},
                            [=](Draft& draft) {
                              draft.query[name] = {Choice::Kind::text, "1", 0, false};
                            }});
    }
  }

  bool has_graphql() const { return !graphql_.empty(); }
  bool names_in_documents() const {
    return std::any_of(graphql_.begin(), graphql_.end(),
                       [](const auto* terms) { return !terms->names.empty() || !terms->fields.empty(); });
  }

  /// Names for every way in which the lists of rules match one.
  std::vector<std::string> telling_names(std::vector<std::string> GraphqlTerms::*list, const char* usual) const {
    std::vector<std::string> globs;
    for (const auto* terms : graphql_) globs.insert(globs.end(), (terms->*list).begin(), (terms->*list).end());
    std::vector<std::string> names;
    for (const auto& witness : text_witnesses(globs).all) {
      const auto valid = [](char c) { return c == '_' || is_alphanumeric(c); };
      const bool is_name = !witness.text.empty() && !is_digit(witness.text.front()) &&
                           std::all_of(witness.text.begin(), witness.text.end(), valid);
      if (is_name) names.push_back(witness.text);
    }
    if (names.empty()) names.emplace_back(usual);
    return names;
  }

  Dimension documents() const {
    Dimension dimension;
    for (const auto& name : telling_names(&GraphqlTerms::names, "A")) {
      for (const auto& field : telling_names(&GraphqlTerms::fields, "a")) {
        for (unsigned subset = 1; subset < 8; ++subset) {
          std::string document;
          if ((subset & 1) != 0) document += "query " + name + " { " + field + " } ";
          if ((subset & 2) != 0) document += "mutation " + name + " { " + field + " } ";
          if ((subset & 4) != 0) document += "subscription " + name + " { " + field + " } ";
          dimension.push_back([=](Draft& draft) { draft.document = document; });
        }
      }
    }
    dimension.push_back([](Draft& draft) { draft.document = "{"; });
    return dimension;
  }

  Dimension times() const {
    std::set<int> minutes{0, 12 * 60};
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
    // At a new host every path is new.
    if (first_host_ || first_path_) {
      dimensions.push_back({[](Draft&) {}, [](Draft& draft) { draft.history.first_path = true; },
                            [](Draft& draft) { draft.history.first_host = draft.history.first_path = true; }});
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

  Named query_, headers_, form_, body_, elements_;
  std::vector<const GraphqlTerms*> graphql_;
  bool relates_ = false;                  // of fields that a rule compares no examples are made
  bool lists_ = false, objects_ = false;  // what the bodies are that rules look into
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

}  // namespace

bool each_example(const std::vector<const Rule*>& rules, bool opaque_slashes,
                  const std::function<void(const Example&)>& visit) {
  std::vector<http::PathPattern> patterns;
  for (const auto* rule : rules) {
    for (const auto& pattern : rule->paths) {
      const auto known = std::find(patterns.begin(), patterns.end(), pattern);
      if (known == patterns.end()) patterns.push_back(pattern);
    }
  }
  const auto paths = path_witnesses(patterns, opaque_slashes);
  bool complete = paths.complete;
  std::size_t left = kMostCombinations;
  for (const auto& path : paths.all) {
    const auto fits = [&](const Rule& rule) {
      if (rule.paths.empty()) return true;
      for (std::size_t i = 0; i < patterns.size(); ++i) {
        const bool fits_second = opaque_slashes && path.matches[i + patterns.size()];
        if ((path.matches[i] || fits_second) &&
            std::find(rule.paths.begin(), rule.paths.end(), patterns[i]) != rule.paths.end())
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
      complete = Space(relevant).each(left, [&](const Draft& draft) {
        if (const auto example = example_of(method, path.text, draft, complete)) visit(*example);
      }) && complete;
    }
  }
  return complete;
}

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

}  // namespace agentvault::policy
