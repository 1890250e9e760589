#include "policy/witness.hpp"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <tuple>

#include "base/text.hpp"

namespace agentvault::policy {
namespace {

constexpr std::size_t kMostStates = 50'000;
constexpr std::size_t kLongest = 4096;
constexpr std::string_view kFresh = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_-";

/// A pattern in symbols: one character, or one escape ("%20"), or a star.
struct Item {
  enum class Kind { literal, star_in_segment, star } kind = Kind::literal;
  std::string symbol;
};
using Pattern = std::vector<Item>;

std::vector<std::string> symbols_of(std::string_view text) {
  std::vector<std::string> symbols;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t size = text[at] == '%' && at + 2 < text.size() ? 3 : 1;
    symbols.emplace_back(text.substr(at, size));
    at += size;
  }
  return symbols;
}

Pattern parse(std::string_view text, bool path) {
  Pattern pattern;
  const bool deep = path && text.ends_with("/**");
  if (deep) text.remove_suffix(2);
  const auto symbols = symbols_of(text);
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    const bool star = symbols[i] == "*";
    const bool crosses = star && (!path || (i + 1 < symbols.size() && symbols[i + 1] == "*"));
    const auto kind = crosses ? Item::Kind::star : star ? Item::Kind::star_in_segment : Item::Kind::literal;
    if (crosses && path) ++i;  // "**"
    if (star && !pattern.empty() && pattern.back().kind == kind) continue;
    pattern.push_back({kind, symbols[i]});
  }
  if (deep) pattern.push_back({Item::Kind::star, "*"});
  return pattern;
}

/// Where a path stands in its current segment: only the last one may be empty, and none is "." or "..".
enum class Segment : std::uint8_t { before, empty, dot, dots, full };

Segment next_segment(Segment now, const std::string& symbol) {
  if (symbol == "/") return Segment::empty;
  if (symbol == "." && now == Segment::empty) return Segment::dot;
  if (symbol == "." && now == Segment::dot) return Segment::dots;
  return Segment::full;
}

constexpr const char* kEscapedSlash = "%2F";

class Explorer {
 public:
  enum class Of { texts, paths, paths_with_two_readings };

  Explorer(std::vector<Pattern> patterns, Of of)
      : patterns_(std::move(patterns)), path_(of != Of::texts), twice_(of == Of::paths_with_two_readings) {
    first_readings_ = patterns_.size();
    if (twice_) {
      for (std::size_t i = 0; i < first_readings_; ++i) patterns_.push_back(patterns_[i]);
    }
    std::set<std::string> symbols;
    if (path_) symbols.insert("/");
    if (twice_) symbols.insert(kEscapedSlash);
    for (const auto& pattern : patterns_) {
      for (const auto& item : pattern) {
        if (item.kind == Item::Kind::literal) symbols.insert(item.symbol);
      }
    }
    for (const char c : kFresh) {
      if (symbols.insert(std::string(1, c)).second) break;
    }
    symbols_.assign(symbols.begin(), symbols.end());
    // Letters first, so that examples read well.
    std::stable_partition(symbols_.begin(), symbols_.end(), [](const auto& s) { return is_alphanumeric(s.front()); });
  }

  Witnesses run() {
    Witnesses out;
    std::set<std::vector<bool>> seen;
    State start;
    for (std::uint64_t i = 0; i < patterns_.size(); ++i) reach(i, 0, start.places);
    normalise(start);
    visit(start, "");
    while (!queue_.empty()) {
      const auto [state, text] = queue_.front();
      queue_.pop_front();
      if (may_end(state, text)) {
        auto matches = matches_of(state);
        if (seen.insert(matches).second) out.all.push_back({text, std::move(matches)});
      }
      if (known_.size() > kMostStates) {
        out.complete = false;
        break;
      }
      if (text.size() > kLongest) {
        out.complete = false;
        continue;
      }
      for (const auto& symbol : symbols_) {
        if (may_follow(state, symbol)) visit(step(state, symbol), text + symbol);
      }
    }
    return out;
  }

 private:
  struct State {
    std::vector<std::uint64_t> places;  // pattern and position, sorted
    Segment segment = Segment::before;
    Segment second = Segment::before;  // of the second reading
    bool operator<(const State& other) const {
      return std::tie(segment, second, places) < std::tie(other.segment, other.second, other.places);
    }
  };
  static constexpr std::uint64_t kPositions = std::uint64_t{1} << 32;

  /// As the second reading has it.
  static std::string slashed(const std::string& symbol) { return symbol == kEscapedSlash ? "/" : symbol; }

  void reach(std::uint64_t pattern, std::uint64_t position, std::vector<std::uint64_t>& places) const {
    places.push_back(pattern * kPositions + position);
    const auto& items = patterns_[pattern];
    if (position < items.size() && items[position].kind != Item::Kind::literal) reach(pattern, position + 1, places);
  }
  static void normalise(State& state) {
    std::sort(state.places.begin(), state.places.end());
    state.places.erase(std::unique(state.places.begin(), state.places.end()), state.places.end());
  }
  void visit(State state, std::string text) {
    if (known_.insert(state).second) queue_.emplace_back(std::move(state), std::move(text));
  }

  bool may_follow(const State& state, const std::string& symbol) const {
    if (!path_) return true;
    if (symbol == kEscapedSlash && !twice_) return false;
    return may_follow(state.segment, symbol) && (!twice_ || may_follow(state.second, slashed(symbol)));
  }
  static bool may_follow(Segment segment, const std::string& symbol) {
    if (segment == Segment::before) return symbol == "/";
    return symbol != "/" || segment == Segment::full;
  }
  bool may_end(const State& state, const std::string& text) const {
    if (!path_) return true;
    const auto whole = [](Segment segment) { return segment == Segment::full || segment == Segment::empty; };
    return whole(state.segment) && (!twice_ || (whole(state.second) && !text.ends_with(kEscapedSlash)));
  }

  State step(const State& state, const std::string& symbol) const {
    State next;
    next.segment = next_segment(state.segment, symbol);
    if (twice_) next.second = next_segment(state.second, slashed(symbol));
    for (const auto place : state.places) {
      const auto pattern = place / kPositions;
      const auto position = place % kPositions;
      const auto& items = patterns_[pattern];
      if (position == items.size()) continue;
      const auto& item = items[position];
      const auto read = pattern < first_readings_ ? symbol : slashed(symbol);
      const bool stays = item.kind == Item::Kind::star || (item.kind == Item::Kind::star_in_segment && read != "/");
      if (stays) reach(pattern, position, next.places);
      if (item.kind == Item::Kind::literal && item.symbol == read) reach(pattern, position + 1, next.places);
    }
    normalise(next);
    return next;
  }

  std::vector<bool> matches_of(const State& state) const {
    std::vector<bool> matches(patterns_.size());
    for (const auto place : state.places) {
      const auto pattern = place / kPositions;
      if (place % kPositions == patterns_[pattern].size()) matches[pattern] = true;
    }
    return matches;
  }

  std::vector<Pattern> patterns_;
  std::size_t first_readings_ = 0;  // so many of them; then the same again, for the second reading
  bool path_;
  bool twice_;
  std::vector<std::string> symbols_;
  std::set<State> known_;
  std::deque<std::pair<State, std::string>> queue_;
};

}  // namespace

Witnesses path_witnesses(const std::vector<http::PathPattern>& patterns, bool opaque_slashes) {
  std::vector<Pattern> parsed;
  for (const auto& pattern : patterns) parsed.push_back(parse(pattern.text(), true));
  const auto of = opaque_slashes ? Explorer::Of::paths_with_two_readings : Explorer::Of::paths;
  return Explorer(std::move(parsed), of).run();
}

Witnesses text_witnesses(const std::vector<std::string>& globs) {
  std::vector<Pattern> parsed;
  for (const auto& glob : globs) parsed.push_back(parse(glob, false));
  return Explorer(std::move(parsed), Explorer::Of::texts).run();
}

}  // namespace agentvault::policy
