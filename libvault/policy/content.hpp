// A request's body, as rules ask about it. What could be read in more than one way has no answer (Match::unknown).
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "http/fields.hpp"
#include "policy/graphql.hpp"
#include "policy/values.hpp"

namespace agentvault::policy {

/// In a pointer: every element of a list.
inline constexpr std::string_view kEvery = "*";

/// What some rules want to know of a body, so that it is walked through once.
struct Questions {
  std::set<std::string> pointers;  // into JSON (RFC 6901); "*" is every element of a list
  bool body = false;               // anything at all
  bool fields = false;             // whether it has fields, and which; for bodies of a kind that has some
  bool graphql = false;

  void add(const Questions& other);
};

/// What stands in the elements of a list, by their places; nullopt in one that does not have it, or the next list.
struct Elements {
  bool is_there = false;  // the first list
  std::map<std::string, std::optional<Scalar>> values;
};

class Content {
 public:
  /// A request without a body.
  Content() = default;
  /// `body`: null when it was too large to be read. Answers the questions and no others.
  Content(const http::Fields& fields, const std::string* body, const Questions& questions);

  /// Where the pointer is to elements of a list: whether `every` one fits, or any. Of an empty list every one does.
  Match json(const std::string& pointer, const Values& values, bool every = true) const;
  /// What stands there: nothing when it is missing, or cannot be told.
  const Scalar* scalar(const std::string& pointer) const;
  bool is_ambiguous(const std::string& pointer) const {
    return ambiguous_.contains(pointer) || !asked_.contains(pointer);
  }
  bool is_readable_json() const { return form_ == Form::json; }
  /// Whether some server may find a method in a field of it ("_method"), as Rack does in every form.
  bool may_name_method() const { return may_name_method_; }
  Match form(const std::string& field, const Values& values) const;
  /// Nothing: cannot be told. Without a body: none.
  const std::optional<GraphqlRequest>& graphql() const { return graphql_; }
  bool is_missing() const { return form_ == Form::none; }
  /// Whether some reader may find a field of this name, at the top, in a form or in JSON.
  bool may_hold(const std::string& field) const;

 private:
  enum class Form { none, json, fields, other, unreadable };  // other: nothing that has fields

  void read_json(const std::string& body, const Questions& questions);
  void read_fields(const std::string& body);

  Form form_ = Form::none;
  bool may_name_method_ = false;
  std::set<std::string> asked_;  // pointers
  std::map<std::string, Scalar> scalars_;
  std::map<std::string, Elements> elements_;  // of pointers with a "*"
  std::set<std::string> ambiguous_;           // pointers
  std::map<std::string, std::vector<std::string>> fields_;
  std::set<std::string> members_;  // of a JSON object
  std::optional<GraphqlRequest> graphql_ = GraphqlRequest();
};

/// Whether it is about elements of a list.
bool names_elements(const std::string& pointer);
/// "a/b" of the pointer "/a~1b/0/c".
std::string first_member(const std::string& pointer);
/// name=value&...: decoded, every value of a name. Nothing where a separator is in doubt.
std::optional<std::map<std::string, std::vector<std::string>>> read_form(std::string_view text);
/// Whether some stacks take what was `sent` for `name`: they fold case, read a[] and a[0] as a list called a, or write
/// _ for what they do not like.
bool reads_as(std::string_view sent, std::string_view name);
/// Whether a body is said to be a form of one part, clearly or not. One without a type is let stream by.
bool may_be_form(const http::Fields& head);
/// Whether a query or a form has a field that names a method, however it is cut into fields.
bool names_method(std::string_view text);
/// Whether a body of this kind has fields that a reader could mix with those of the query.
bool has_fields(const http::Fields& head);
/// Exactly one value is an answer.
Match match_field(const std::map<std::string, std::vector<std::string>>& fields, const std::string& name,
                  const Values& values);

}  // namespace agentvault::policy
