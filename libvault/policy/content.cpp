#include "policy/content.hpp"

#include <algorithm>

#include "base/encoding.hpp"
#include "base/text.hpp"
#include "http/json_walker.hpp"

namespace agentvault::policy {
namespace {

using nlohmann::json;

/// "/a~1b/0" as its segments.
std::vector<std::string> segments_of(const std::string& pointer) {
  std::vector<std::string> segments;
  for (auto rest = json::json_pointer(pointer); !rest.empty(); rest = rest.parent_pointer()) {
    segments.insert(segments.begin(), rest.back());
  }
  return segments;
}

constexpr std::size_t kMostElements = 10'000;  // of which something is asked

struct Found {
  std::map<std::string, Scalar>& scalars;
  std::map<std::string, Elements>& elements;
  std::set<std::string>& ambiguous;
};

/// Keeps the scalars that were asked for.
class Collector final : public http::JsonWalker {
 public:
  Collector(const std::set<std::string>& pointers, Found found) : found_(found) {
    for (const auto& pointer : pointers) {
      Wanted wanted;
      wanted.pointer = pointer;
      wanted.segments = segments_of(pointer);
      for (std::size_t i = 0; i < wanted.segments.size(); ++i) {
        wanted.folded.push_back(http::folded_key(wanted.segments[i]));
        if (wanted.segments[i] == kEvery) wanted.lists.push_back(i);
      }
      if (!wanted.lists.empty()) wanted.elements = &found_.elements[pointer];
      wanted_.push_back(std::move(wanted));
    }
  }

 private:
  struct Wanted {
    std::string pointer;
    std::vector<std::string> segments;
    std::vector<std::string> folded;
    std::vector<std::size_t> lists;  // how deep those lie whose elements are asked for
    Elements* elements = nullptr;
    bool ambiguous = false;
  };

  bool on_text(const std::string& text) override { return note(text, false, false); }
  bool on_number(double number) override { return note(number, false, false); }
  bool on_flag(bool flag) override { return note(flag, false, false); }
  bool on_null() override { return note(std::monostate(), false, false); }
  bool on_container(bool is_object) override { return note(std::monostate(), true, is_object); }

  bool note(const Scalar& value, bool is_container, bool is_object) {
    const auto depth = levels().size();
    for (auto& wanted : wanted_) {
      if (wanted.ambiguous || depth > wanted.segments.size()) continue;
      bool same = true;
      bool alike = true;
      for (std::size_t i = 0; i < depth && alike; ++i) {
        const bool is_element = wanted.segments[i] == kEvery && !levels()[i].is_object;
        same = same && (is_element || levels()[i].name == wanted.segments[i]);
        alike = is_element || levels()[i].folded == wanted.folded[i];
      }
      if (!alike) continue;
      if (same && wanted.elements != nullptr) note_elements(wanted, depth, is_container && !is_object);
      if (depth < wanted.segments.size()) {
        // On the way there stands something else than what has such members: some readers look into it all the same.
        const bool leads_on = is_container && is_object != is_number(wanted.segments[depth]);
        if (!leads_on) forget(wanted);
      } else if (!same) {
        forget(wanted);
      } else if (wanted.elements == nullptr) {
        found_.scalars.insert_or_assign(wanted.pointer, value);
      } else if (!wanted.ambiguous) {
        wanted.elements->values[place_of(wanted, wanted.lists.size())] = value;
      }
    }
    return true;
  }

  /// An element stands for itself until a list in it is found, whose elements then stand for it.
  void note_elements(Wanted& wanted, std::size_t depth, bool is_list) {
    auto& values = wanted.elements->values;
    for (std::size_t i = 0; i < wanted.lists.size(); ++i) {
      if (depth == wanted.lists[i] && is_list) {
        if (i == 0) wanted.elements->is_there = true;
        if (i > 0) values.erase(place_of(wanted, i));
      }
      if (depth == wanted.lists[i] + 1) {
        if (values.size() >= kMostElements) return forget(wanted);
        values.try_emplace(place_of(wanted, i + 1));
      }
    }
  }
  void forget(Wanted& wanted) {
    wanted.ambiguous = true;
    found_.ambiguous.insert(wanted.pointer);
  }
  /// "3/0/" of the fourth element, and the first in it.
  std::string place_of(const Wanted& wanted, std::size_t lists) const {
    std::string place;
    for (std::size_t i = 0; i < lists; ++i) place += levels()[wanted.lists[i]].name + "/";
    return place;
  }

  static bool is_number(const std::string& segment) { return segment == kEvery || parse_unsigned(segment).has_value(); }

  std::vector<Wanted> wanted_;
  Found found_;
};

/// {"query": "..."} or a list of such (GraphQL over HTTP). What is named by a hash cannot be told.
class GraphqlCollector final : public http::JsonWalker {
 public:
  std::optional<GraphqlRequest> result() const {
    return understood_ && requests_ > 0 && documents_ == requests_ ? std::optional(request_) : std::nullopt;
  }

 private:
  bool on_text(const std::string& text) override {
    if (!in_request()) return true;
    if (levels().back().name != "query") return other();
    ++documents_;
    const auto found = read_graphql(text);
    if (!found) return forget();
    request_.add(*found);
    return true;
  }
  bool on_null() override { return other(); }
  bool on_number(double) override { return other(); }
  bool on_flag(bool) override { return other(); }
  bool on_container(bool is_object) override {
    const bool at_request = levels().empty() || (levels().size() == 1 && !levels().front().is_object);
    if (at_request && is_object) ++requests_;
    if (at_request && !is_object && !levels().empty()) return forget();
    return other();
  }

  bool in_request() const {
    return (levels().size() == 1 && levels()[0].is_object) ||
           (levels().size() == 2 && !levels()[0].is_object && levels()[1].is_object);
  }
  /// Documents that the server has stored are named in many ways: no other members than those of the specification.
  bool other() {
    if (!in_request()) return true;
    const auto& name = levels().back().name;
    return name == "operationName" || name == "variables" ? true : forget();
  }
  bool forget() {
    understood_ = false;
    return true;
  }

  bool understood_ = true;
  std::size_t documents_ = 0;
  std::size_t requests_ = 0;
  GraphqlRequest request_;
};

/// "application/json; charset=utf-8": what stands before the parameters, in lower case; "" when a parameter says that
/// it is not UTF-8, or there are two such fields.
std::string media_type(const http::Fields& fields) {
  const auto named = std::count_if(fields.list().begin(), fields.list().end(),
                                   [](const auto& field) { return http::same_field_name(field.name, "content-type"); });
  if (named != 1 || fields.count("content-type") != 1) return "";
  const auto parts = split(*fields.find("content-type"), ';');
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const auto parameter = lower(trim(parts[i]));
    if (parameter.starts_with("charset") && parameter != "charset=utf-8" && parameter != "charset=\"utf-8\"") return "";
  }
  return lower(trim(parts.front()));
}

constexpr const char* kForm = "application/x-www-form-urlencoded";
constexpr const char* kMethodField = "_method";

/// The names at the top.
class MemberCollector final : public http::JsonWalker {
 public:
  explicit MemberCollector(std::set<std::string>& names) : names_(names) {}

 private:
  bool on_text(const std::string&) override { return note(); }
  bool on_number(double) override { return note(); }
  bool on_flag(bool) override { return note(); }
  bool on_null() override { return note(); }
  bool on_container(bool) override { return note(); }
  bool note() {
    if (levels().size() == 1 && levels().front().is_object) names_.insert(levels().front().name);
    return true;
  }
  std::set<std::string>& names_;
};

/// No in one decides about every one, yes about any; then what cannot be told.
Match match(const Elements& elements, const Values& values, bool every) {
  if (!elements.is_there) return values.match_missing();
  const Match decides = every ? Match::no : Match::yes;
  Match result = every ? Match::yes : Match::no;
  for (const auto& [place, value] : elements.values) {
    const Match one = value ? values.match(*value) : values.match_missing();
    if (one == decides) return decides;
    if (one == Match::unknown) result = Match::unknown;
  }
  return result;
}

bool is_json(const std::string& type) {
  return type == "application/json" || (type.starts_with("application/") && type.ends_with("+json"));
}

}  // namespace

void Questions::add(const Questions& other) {
  pointers.insert(other.pointers.begin(), other.pointers.end());
  body = body || other.body;
  fields = fields || other.fields;
  graphql = graphql || other.graphql;
}

Content::Content(const http::Fields& fields, const std::string* body, const Questions& questions)
    : form_(Form::unreadable), graphql_(std::nullopt) {
  const bool encoded = std::any_of(fields.list().begin(), fields.list().end(), [](const auto& field) {
    return http::same_field_name(field.name, "content-encoding");
  });
  if (body != nullptr && body->empty()) {
    *this = Content();
    return;
  }
  may_name_method_ = may_be_form(fields) && (body == nullptr || encoded || names_method(*body));
  if (!has_fields(fields)) form_ = Form::other;
  if (body == nullptr || encoded) return;
  const std::string type = media_type(fields);
  if (is_json(type)) read_json(*body, questions);
  if (type == kForm) read_fields(*body);
  if (type == "application/graphql") graphql_ = read_graphql(*body);
}

void Content::read_json(const std::string& body, const Questions& questions) {
  asked_ = questions.pointers;
  Collector collector(questions.pointers, {scalars_, elements_, ambiguous_});
  if (!http::walk_json(body, collector)) return;
  form_ = Form::json;
  MemberCollector members(members_);
  if (questions.fields) http::walk_json(body, members);
  if (!questions.graphql) return;
  GraphqlCollector graphql;
  if (http::walk_json(body, graphql)) graphql_ = graphql.result();
}

void Content::read_fields(const std::string& body) {
  auto read = read_form(body);
  if (!read) return;
  fields_ = std::move(*read);
  form_ = Form::fields;
}

const Scalar* Content::scalar(const std::string& pointer) const {
  const auto found = scalars_.find(pointer);
  return form_ != Form::json || ambiguous_.contains(pointer) || found == scalars_.end() ? nullptr : &found->second;
}

Match Content::json(const std::string& pointer, const Values& values, bool every) const {
  if (form_ == Form::none) return values.match_missing();
  if (form_ != Form::json || ambiguous_.contains(pointer) || !asked_.contains(pointer)) return Match::unknown;
  if (const auto list = elements_.find(pointer); list != elements_.end()) return match(list->second, values, every);
  const auto found = scalars_.find(pointer);
  return found == scalars_.end() ? values.match_missing() : values.match(found->second);
}

Match Content::form(const std::string& field, const Values& values) const {
  if (form_ == Form::none) return values.match_missing();
  if (form_ != Form::fields) return Match::unknown;
  return match_field(fields_, field, values);
}

bool Content::may_hold(const std::string& field) const {
  const auto alike = [&](const std::string& sent) { return reads_as(sent, field); };
  switch (form_) {
    case Form::none:
    case Form::other:
      return false;
    case Form::json:
      return std::any_of(members_.begin(), members_.end(), alike);
    case Form::fields:
      return std::any_of(fields_.begin(), fields_.end(), [&](const auto& entry) { return alike(entry.first); });
    case Form::unreadable:
      break;
  }
  return true;
}

bool names_elements(const std::string& pointer) {
  const auto segments = segments_of(pointer);
  return std::find(segments.begin(), segments.end(), kEvery) != segments.end();
}

std::string first_member(const std::string& pointer) {
  return segments_of(pointer).front();
}

bool may_be_form(const http::Fields& head) {
  bool any = false;
  for (const auto& field : head.list()) {
    if (!http::same_field_name(field.name, "content-type")) continue;
    if (any || lower(field.value).find("form-urlencoded") != std::string::npos || trim(field.value).empty())
      return true;
    any = true;
  }
  return false;
}

bool names_method(std::string_view text) {
  while (!text.empty()) {
    const auto end = std::min(text.find_first_of("&;"), text.size());
    const auto part = text.substr(0, end);
    // Bad escapes are taken as they stand.
    if (reads_as(form_decoded(part.substr(0, part.find('='))), kMethodField)) return true;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return false;
}

bool has_fields(const http::Fields& head) {
  const std::string type = media_type(head);
  return type.empty() || type == kForm || type == "multipart/form-data" || type.find("json") != std::string::npos;
}

namespace {

/// "%u0061" is a letter to some.
bool is_percent_encoded(std::string_view text) {
  for (auto at = text.find('%'); at != std::string_view::npos; at = text.find('%', at + 1)) {
    if (text.size() < at + 3 || !unhex(lower(text.substr(at + 1, 2)))) return false;
  }
  return true;
}

}  // namespace

std::optional<std::map<std::string, std::vector<std::string>>> read_form(std::string_view text) {
  // ';' separates fields for some servers and not for others.
  if (text.find(';') != std::string_view::npos || !is_percent_encoded(text)) return std::nullopt;
  std::map<std::string, std::vector<std::string>> fields;
  for (const auto part : split(text, '&')) {
    if (part.empty()) continue;
    const auto equals = std::min(part.find('='), part.size());
    fields[form_decoded(part.substr(0, equals))].push_back(
        form_decoded(equals < part.size() ? part.substr(equals + 1) : std::string_view()));
  }
  return fields;
}

bool reads_as(std::string_view sent, std::string_view name) {
  sent = sent.substr(0, sent.find('\0'));
  while (sent.starts_with(' ')) sent.remove_prefix(1);
  std::string plain(sent);
  std::replace_if(
      plain.begin(), plain.end(), [](char c) { return c == '.' || c == ' '; }, '_');
  std::string wanted(name);
  std::replace_if(
      wanted.begin(), wanted.end(), [](char c) { return c == '.' || c == ' '; }, '_');
  if (equal_ignoring_case(std::string_view(plain).substr(0, plain.find('[')), wanted)) return true;
  std::replace(plain.begin(), plain.end(), '[', '_');
  return equal_ignoring_case(plain, wanted);
}

Match match_field(const std::map<std::string, std::vector<std::string>>& fields, const std::string& name,
                  const Values& values) {
  const auto found = fields.find(name);
  const auto alike =
      std::count_if(fields.begin(), fields.end(), [&](const auto& field) { return reads_as(field.first, name); });
  if (found == fields.end()) return alike > 0 ? Match::unknown : values.match_missing();
  if (alike > 1 || found->second.size() != 1) return Match::unknown;
  return values.match_text(found->second.front());
}

}  // namespace agentvault::policy
