#include "policy/path_index.hpp"

#include <algorithm>

namespace agentvault::policy {

std::uint32_t PathIndex::new_node() {
  nodes_.push_back({});
  return static_cast<std::uint32_t>(nodes_.size() - 1);
}

std::uint32_t PathIndex::child_of(std::uint32_t node, char character) const {
  auto child = nodes_[node].child;
  while (child != kNone && nodes_[child].character != character) child = nodes_[child].sibling;
  return child;
}

void PathIndex::add(const http::PathPattern& pattern, std::uint32_t id) {
  std::string_view text = pattern.text();
  const bool beyond = text.ends_with("/**");
  if (beyond) text.remove_suffix(2);
  std::uint32_t node = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    std::uint32_t next = kNone;
    if (text.substr(at).starts_with("**")) {
      ++at;
      next = nodes_[node].deep;
      if (next == kNone) {
        next = new_node();
        nodes_[next].is_deep = true;
        nodes_[node].deep = next;
      }
    } else if (text[at] == '*') {
      if (nodes_[node].is_star) continue;
      next = nodes_[node].star;
      if (next == kNone) {
        next = new_node();
        nodes_[next].is_star = true;
        nodes_[node].star = next;
      }
    } else {
      next = child_of(node, text[at]);
      if (next == kNone) {
        next = new_node();
        nodes_[next].character = text[at];
        nodes_[next].sibling = nodes_[node].child;
        nodes_[node].child = next;
      }
    }
    node = next;
  }
  auto& list = beyond ? nodes_[node].beyond : nodes_[node].here;
  entries_.push_back({id, list});
  list = static_cast<std::uint32_t>(entries_.size() - 1);
}

void PathIndex::note(std::uint32_t entry, std::vector<std::uint32_t>& ids) const {
  for (; entry != 0; entry = entries_[entry].next) ids.push_back(entries_[entry].id);
}

void PathIndex::match(std::string_view path, std::vector<std::uint32_t>& ids) const {
  ids.insert(ids.end(), any_.begin(), any_.end());
  std::vector<std::uint32_t> now{0};
  std::vector<std::uint32_t> next;
  std::size_t stars = 0;  // of `next`: they stand first, each once
  const auto reach = [&](std::uint32_t node) {
    note(nodes_[node].beyond, ids);
    next.push_back(node);
    for (const auto star : {nodes_[node].star, nodes_[node].deep}) {
      const auto staying = next.begin() + static_cast<std::ptrdiff_t>(stars);
      if (star != kNone && std::find(next.begin(), staying, star) == staying) next.push_back(star);
    }
  };
  for (const char c : path) {
    next.clear();
    // A star that stays may be reached anew from the place before it: it must not be there twice.
    for (const auto node : now) {
      if (nodes_[node].is_deep || (nodes_[node].is_star && c != '/')) next.push_back(node);
    }
    stars = next.size();
    for (const auto node : now) {
      if (const auto child = child_of(node, c); child != kNone) reach(child);
    }
    std::swap(now, next);
    if (now.empty()) return;
  }
  for (const auto node : now) note(nodes_[node].here, ids);
}

}  // namespace agentvault::policy
