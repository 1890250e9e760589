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

/// What some rules want to know of a body, so that it is walked through once.
struct Questions {
  std::set<std::string> pointers;  // into JSON (RFC 6901)
  bool body = false;               // anything at all
  bool graphql = false;

  void add(const Questions& other);
};

class Content {
 public:
  /// A request without a body.
  Content() = default;
  /// `body`: null when it was too large to be read. Answers the questions and no others.
  Content(const http::Fields& fields, const std::string* body, const Questions& questions);

  Match json(const std::string& pointer, const Values& values) const;
  /// What stands there: nothing when it is missing, or cannot be told.
  const Scalar* scalar(const std::string& pointer) const;
  bool is_readable_json() const { return form_ == Form::json; }
  Match form(const std::string& field, const Values& values) const;
  /// Nothing: cannot be told. Without a body: none.
  std::optional<std::set<Operation>> operations() const { return operations_; }
  bool is_missing() const { return form_ == Form::none; }

 private:
  enum class Form { none, json, fields, unreadable };

  void read_json(const std::string& body, const Questions& questions);
  void read_fields(const std::string& body);

  Form form_ = Form::none;
  std::map<std::string, Scalar> scalars_;
  std::set<std::string> ambiguous_;  // pointers
  std::map<std::string, std::vector<std::string>> fields_;
  std::optional<std::set<Operation>> operations_ = std::set<Operation>();
};

/// name=value&...: decoded, every value of a name. Nothing where a separator is in doubt.
std::optional<std::map<std::string, std::vector<std::string>>> read_form(std::string_view text);
/// Exactly one value is an answer.
Match match_field(const std::map<std::string, std::vector<std::string>>& fields, const std::string& name,
                  const Values& values);

}  // namespace agentvault::policy
