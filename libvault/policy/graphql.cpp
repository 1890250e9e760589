#include "policy/graphql.hpp"

#include "base/text.hpp"

namespace agentvault::policy {
namespace {

constexpr std::size_t kMaxDepth = 200;

bool is_name_start(char c) {
  return c == '_' || (is_alphanumeric(c) && !is_digit(c));
}

/// Takes one token after the other: a name, a punctuator (one character), or a value that is only skipped.
class Lexer {
 public:
  explicit Lexer(std::string_view text) : rest_(text) {}

  /// Empty at the end. "\"" stands for any string, "0" for any number.
  std::string_view next() {
    skip_ignored();
    if (rest_.empty() || bad_) return {};
    const char c = rest_.front();
    if (is_name_start(c)) return take_while([](char d) { return d == '_' || is_alphanumeric(d); });
    if (c == '"') return take_string();
    if (is_digit(c) || c == '-') {
      take_while([](char d) { return is_alphanumeric(d) || d == '-' || d == '+' || d == '.'; });
      return "0";
    }
    if (std::string_view("!$&():=@[]{|}.").find(c) == std::string_view::npos) return fail();
    return take(1);
  }
  bool bad() const { return bad_; }

 private:
  std::string_view fail() {
    bad_ = true;
    return {};
  }
  std::string_view take(std::size_t size) {
    const auto token = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return token;
  }
  template <class Wanted>
  std::string_view take_while(Wanted wanted) {
    std::size_t size = 0;
    while (size < rest_.size() && wanted(rest_[size])) ++size;
    return take(size);
  }

  /// White space, commas, comments, and the mark of UTF-8 at the start.
  void skip_ignored() {
    while (!rest_.empty()) {
      const char c = rest_.front();
      if (c == '#') {
        const auto end = rest_.find_first_of("\n\r");
        rest_ = end == std::string_view::npos ? std::string_view() : rest_.substr(end);
      } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == ',') {
        rest_.remove_prefix(1);
      } else {
        return;
      }
    }
  }

  std::string_view take_string() {
    constexpr std::string_view block = "\"\"\"";
    if (rest_.starts_with(block)) {
      rest_.remove_prefix(block.size());
      for (;;) {
        const auto end = rest_.find(block);
        if (end == std::string_view::npos) return fail();
        const bool escaped = end > 0 && rest_[end - 1] == '\\';
        rest_.remove_prefix(end + block.size());
        if (!escaped) return "\"";
      }
    }
    for (std::size_t at = 1; at < rest_.size(); ++at) {
      if (rest_[at] == '\n' || rest_[at] == '\r') break;
      if (rest_[at] == '\\') {
        ++at;
      } else if (rest_[at] == '"') {
        rest_.remove_prefix(at + 1);
        return "\"";
      }
    }
    return fail();
  }

  std::string_view rest_;
  bool bad_ = false;
};

/// Everything up to the bracket that closes the selection set whose opening one was just read.
bool skip_selection(Lexer& lexer) {
  std::string open = "{";
  while (!open.empty()) {
    const auto token = lexer.next();
    if (token.empty()) return false;
    const char c = token.front();
    if (token.size() > 1) continue;
    if (c == '{' || c == '(' || c == '[') open.push_back(c);
    if (open.size() > kMaxDepth) return false;
    if (c != '}' && c != ')' && c != ']') continue;
    const char expected = c == '}' ? '{' : c == ')' ? '(' : '[';
    if (open.back() != expected) return false;
    open.pop_back();
  }
  return true;
}

/// Name, variables, directives, type condition: up to the selection set.
bool skip_to_selection(Lexer& lexer) {
  int depth = 0;
  for (auto token = lexer.next(); !token.empty(); token = lexer.next()) {
    if (token == "{" && depth == 0) return true;
    if (token == "(" || token == "[" || token == "{") ++depth;
    if (token == ")" || token == "]" || token == "}") --depth;
    if (depth < 0) return false;
  }
  return false;
}

}  // namespace

std::optional<std::set<Operation>> graphql_operations(std::string_view document) {
  Lexer lexer(document);
  std::set<Operation> found;
  for (auto token = lexer.next(); !token.empty(); token = lexer.next()) {
    if (token == "{") {
      found.insert(Operation::query);
    } else {
      if (token == "query")
        found.insert(Operation::query);
      else if (token == "mutation")
        found.insert(Operation::mutation);
      else if (token == "subscription")
        found.insert(Operation::subscription);
      else if (token != "fragment")
        return std::nullopt;  // type definitions are nothing to execute
      if (!skip_to_selection(lexer)) return std::nullopt;
    }
    if (!skip_selection(lexer)) return std::nullopt;
  }
  if (lexer.bad() || found.empty()) return std::nullopt;
  return found;
}

}  // namespace agentvault::policy
