// Which of many path patterns match a path: one walk along the path, however many patterns there are. A trie of the
// patterns' characters, walked with a set of places at once where they hold stars.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "http/path_pattern.hpp"

namespace agentvault::policy {

class PathIndex {
 public:
  PathIndex() : nodes_(1) {}

  void add(const http::PathPattern& pattern, std::uint32_t id);
  /// Matches every path, and what is no path.
  void add_any(std::uint32_t id) { any_.push_back(id); }

  /// Appends the ids of those that match; an id may come more than once.
  void match(std::string_view path, std::vector<std::uint32_t>& ids) const;

 private:
  static constexpr std::uint32_t kNone = 0;  // the root is nobody's child

  struct Node {
    char character = 0;
    bool is_star = false;         // stays on every character but a slash
    bool is_deep = false;         // stays on every character
    std::uint32_t child = kNone;  // the first ...
    std::uint32_t sibling = kNone;
    std::uint32_t star = kNone;
    std::uint32_t deep = kNone;
    std::uint32_t here = 0;    // entry: patterns that end here; 0 is none
    std::uint32_t beyond = 0;  // entry: patterns that take whatever follows
  };
  struct Entry {
    std::uint32_t id;
    std::uint32_t next;
  };

  std::uint32_t child_of(std::uint32_t node, char character) const;
  std::uint32_t new_node();
  void note(std::uint32_t entry, std::vector<std::uint32_t>& ids) const;

  std::vector<Node> nodes_;
  std::vector<Entry> entries_{{0, 0}};
  std::vector<std::uint32_t> any_;
};

}  // namespace agentvault::policy
