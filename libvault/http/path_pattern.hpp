// Typed path patterns, for rules and caveats. Never regular expressions.
//
//   /v1/models        that path
//   /v1/models/*      '*' is any run of characters inside one segment, also an empty one
//   /v1/files/**      '**' as a segment is one or more segments
//   /repos/**/issues  also in the middle
//   /wiki/Zürich      what is not ASCII stands for its escapes in UTF-8: /wiki/Z%C3%BCrich
//
// A pattern is judged against a normal form (http/target.hpp), in which no segment hides a slash.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace agentvault::http {

class PathPattern {
 public:
  /// Nothing for what is not a pattern.
  static std::optional<PathPattern> parse(std::string_view text);

  bool matches(std::string_view path) const;
  const std::string& text() const { return text_; }
  bool operator==(const PathPattern&) const = default;

 private:
  explicit PathPattern(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

}  // namespace agentvault::http
