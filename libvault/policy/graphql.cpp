#include "policy/graphql.hpp"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

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
    if (peeked_) return *std::exchange(peeked_, std::nullopt);
    return read();
  }
  std::string_view peek() {
    if (!peeked_) peeked_ = read();
    return *peeked_;
  }
  bool bad() const { return bad_; }

 private:
  std::string_view read() {
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

  /// White space, commas, comments.
  void skip_ignored() {
    while (!rest_.empty()) {
      const char c = rest_.front();
      if (c == '#') {
        const auto end = std::min(rest_.find_first_of("\n\r"), rest_.size());
        // Separators of lines and paragraphs, NEL: some readers end it there.
        for (const char* other : {"\xe2\x80\xa8", "\xe2\x80\xa9", "\xc2\x85"}) {
          bad_ = bad_ || rest_.substr(0, end).find(other) != std::string_view::npos;
        }
        rest_.remove_prefix(end);
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
  std::optional<std::string_view> peeked_;
  bool bad_ = false;
};

bool is_name(std::string_view token) {
  return !token.empty() && is_name_start(token.front());
}

/// Everything up to the bracket that closes the one that was just read.
bool skip_brackets(Lexer& lexer, char opening) {
  std::string open{opening};
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

bool skip_arguments(Lexer& lexer) {
  if (lexer.peek() != "(") return true;
  lexer.next();
  return skip_brackets(lexer, '(');
}

bool skip_directives(Lexer& lexer) {
  while (lexer.peek() == "@") {
    lexer.next();
    if (!is_name(lexer.next()) || !skip_arguments(lexer)) return false;
  }
  return true;
}

struct Selection {
  std::set<std::string> fields;
  std::set<std::string> fragments;
};

/// Behind the bracket that opens it, with the one that closes it. Fragments that stand in it are part of it.
bool read_selection(Lexer& lexer, Selection& selection, std::size_t depth = 0) {
  if (depth > kMaxDepth || lexer.peek() == "}") return false;  // an empty one is none
  for (auto token = lexer.next(); token != "}"; token = lexer.next()) {
    if (token == ".") {
      if (lexer.next() != "." || lexer.next() != ".") return false;
      if (is_name(lexer.peek()) && lexer.peek() != "on") {
        selection.fragments.emplace(lexer.next());
        if (!skip_directives(lexer)) return false;
        continue;
      }
      if (lexer.peek() == "on" && (lexer.next().empty() || !is_name(lexer.next()))) return false;
      if (!skip_directives(lexer) || lexer.next() != "{" || !read_selection(lexer, selection, depth + 1)) return false;
      continue;
    }
    if (!is_name(token)) return false;
    if (lexer.peek() == ":") {
      lexer.next();
      token = lexer.next();
      if (!is_name(token)) return false;
    }
    selection.fields.emplace(token);
    if (!skip_arguments(lexer) || !skip_directives(lexer)) return false;
    if (lexer.peek() != "{") continue;
    lexer.next();
    if (!skip_brackets(lexer, '{')) return false;
  }
  return true;
}

/// A document, definition by definition.
class Reader {
 public:
  explicit Reader(std::string_view document) : lexer_(document) {}

  std::optional<GraphqlRequest> read() {
    for (auto token = lexer_.next(); !token.empty(); token = lexer_.next()) {
      if (!read_definition(token)) return std::nullopt;
    }
    if (lexer_.bad() || request_.kinds.empty()) return std::nullopt;
    for (const auto& root : roots_) {
      if (!resolve(root)) return std::nullopt;
    }
    return request_;
  }

 private:
  bool read_definition(std::string_view token) {
    if (token == "{") {
      request_.kinds.insert(Operation::query);
      request_.names.emplace();
      return read_selection(lexer_, roots_.emplace_back());
    }
    if (token == "fragment") return read_fragment();
    if (token == "query") {
      request_.kinds.insert(Operation::query);
    } else if (token == "mutation") {
      request_.kinds.insert(Operation::mutation);
    } else if (token == "subscription") {
      request_.kinds.insert(Operation::subscription);
    } else {
      return false;  // type definitions are nothing to execute
    }
    request_.names.emplace(is_name(lexer_.peek()) ? lexer_.next() : std::string_view());
    return skip_arguments(lexer_) && skip_directives(lexer_) && lexer_.next() == "{" &&
           read_selection(lexer_, roots_.emplace_back());
  }

  bool read_fragment() {
    const auto name = lexer_.next();
    if (!is_name(name) || lexer_.next() != "on" || !is_name(lexer_.next()) || !skip_directives(lexer_)) return false;
    const auto [fragment, is_new] = fragments_.try_emplace(std::string(name));
    return is_new && lexer_.next() == "{" && read_selection(lexer_, fragment->second);
  }

  bool resolve(const Selection& selection) {
    request_.fields.insert(selection.fields.begin(), selection.fields.end());
    std::vector<std::string> left(selection.fragments.begin(), selection.fragments.end());
    while (!left.empty()) {
      const std::string name = left.back();
      left.pop_back();
      if (!resolved_.insert(name).second) continue;
      const auto fragment = fragments_.find(name);
      if (fragment == fragments_.end()) return false;
      request_.fields.insert(fragment->second.fields.begin(), fragment->second.fields.end());
      left.insert(left.end(), fragment->second.fragments.begin(), fragment->second.fragments.end());
    }
    return true;
  }

  Lexer lexer_;
  GraphqlRequest request_;
  std::vector<Selection> roots_;
  std::map<std::string, Selection> fragments_;
  std::set<std::string> resolved_;
};

}  // namespace

void GraphqlRequest::add(const GraphqlRequest& other) {
  kinds.insert(other.kinds.begin(), other.kinds.end());
  names.insert(other.names.begin(), other.names.end());
  fields.insert(other.fields.begin(), other.fields.end());
}

std::optional<GraphqlRequest> read_graphql(std::string_view document) {
  return Reader(document).read();
}

}  // namespace agentvault::policy
