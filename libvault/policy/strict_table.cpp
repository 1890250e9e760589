#include "policy/strict_table.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/text.hpp"

namespace agentvault::policy {

void refuse_toml(const std::string& file, const toml::source_region& where, const std::string& what,
                 const std::string& hint) {
  throw Error(
      ErrorKind::usage,
      printable(file) + ":" + std::to_string(where.begin.line) + ":" + std::to_string(where.begin.column) + ": " + what,
      hint);
}

namespace {

constexpr std::size_t kMostNested = 32;

/// Where a string or a comment that begins at `at` ends.
std::size_t skip_text(std::string_view text, std::size_t at) {
  const char mark = text[at];
  if (mark == '#') return std::min(text.find('\n', at), text.size());
  const bool escapes = mark == '"';
  const std::string three(3, mark);
  const bool long_one = text.substr(at, 3) == three;
  for (at += long_one ? 3 : 1; at < text.size(); ++at) {
    if (escapes && text[at] == '\\') {
      ++at;
    } else if (long_one && text.substr(at, 3) == three) {
      at += 3;
      for (int more = 0; more < 2 && at < text.size() && text[at] == mark; ++more) ++at;
      return at;
    } else if (!long_one && (text[at] == mark || text[at] == '\n')) {
      return at + 1;
    }
  }
  return text.size();
}

/// The library follows keys (a.b.c) and brackets by recursion, as deep as they go: refused before it does.
void check_depth(std::string_view text, const std::string& file, const std::string& hint) {
  std::size_t brackets = 0, dots = 0;
  toml::source_index line = 1;
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == '#' || c == '"' || c == '\'') {
      const auto end = skip_text(text, at);
      line += static_cast<toml::source_index>(std::count(text.begin() + static_cast<std::ptrdiff_t>(at),
                                                         text.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
      at = end;
      continue;
    }
    if (c == '[' || c == '{') ++brackets;
    if ((c == ']' || c == '}') && brackets > 0) --brackets;
    dots = c == '.' ? dots + 1 : std::string_view("\n,=[]{}").find(c) != std::string_view::npos ? 0 : dots;
    if (c == '\n') ++line;
    if (brackets > kMostNested || dots > kMostNested) {
      refuse_toml(file, {{line, 1}, {line, 1}, nullptr}, "it is nested too deeply", hint);
    }
    ++at;
  }
}

}  // namespace

toml::table parse_toml(std::string_view text, const std::string& file, const std::string& hint) {
  check_depth(text, file, hint);
  try {
    return toml::parse(text, file);
  } catch (const toml::parse_error& error) {
    // The library escapes what it quotes.
    refuse_toml(file, error.source(), printable_message(error.description(), 200), hint);
  }
}

void StrictTable::refuse(std::string_view key, const std::string& what) const {
  const auto* found = table_.get(key);
  refuse_toml(file_, found != nullptr ? found->source() : table_.source(), what, hint_);
}

const toml::node* StrictTable::node(std::string_view key) {
  asked_.insert(std::string(key));
  return table_.get(key);
}

std::string StrictTable::text(std::string_view key, bool required) {
  const auto* found = node(key);
  if (found == nullptr) {
    if (required) refuse(key, "missing " + std::string(key));
    return {};
  }
  const auto value = found->value_exact<std::string>();
  if (!value) refuse(*found, std::string(key) + " is not a string");
  return *value;
}

std::vector<std::string> StrictTable::texts(std::string_view key) {
  const auto* found = node(key);
  if (found == nullptr) return {};
  const auto* array = found->as_array();
  if (array == nullptr) refuse(*found, std::string(key) + " is not a list");
  std::vector<std::string> out;
  for (const auto& item : *array) {
    const auto value = item.value_exact<std::string>();
    if (!value) refuse(item, std::string(key) + " holds something that is not a string");
    out.push_back(*value);
  }
  return out;
}

bool StrictTable::flag(std::string_view key) {
  const auto* found = node(key);
  if (found == nullptr) return false;
  const auto value = found->value_exact<bool>();
  if (!value) refuse(*found, std::string(key) + " is neither true nor false");
  return *value;
}

double StrictTable::amount(std::string_view key) {
  const auto* found = node(key);
  const auto value = found != nullptr ? found->value<double>() : std::nullopt;
  if (!value || !(*value >= 0) || *value > 1e12) refuse(key, std::string(key) + " is not an amount");
  return *value;
}

std::uint64_t StrictTable::count(std::string_view key, std::uint64_t least, std::uint64_t most) {
  const auto* found = node(key);
  const auto value = found != nullptr ? found->value_exact<std::int64_t>() : std::nullopt;
  if (!value || *value < 0 || static_cast<std::uint64_t>(*value) < least || static_cast<std::uint64_t>(*value) > most) {
    refuse(key,
           std::string(key) + " is not a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  }
  return static_cast<std::uint64_t>(*value);
}

const toml::table* StrictTable::table(std::string_view key) {
  const auto* found = node(key);
  if (found == nullptr) return nullptr;
  if (found->as_table() == nullptr) refuse(*found, std::string(key) + " is not a table");
  return found->as_table();
}

const toml::array* StrictTable::tables(std::string_view key) {
  const auto* found = node(key);
  if (found == nullptr) return nullptr;
  if (!found->is_array_of_tables()) refuse(*found, std::string(key) + " is not a list of tables");
  return found->as_array();
}

void StrictTable::refuse_unknown() const {
  for (const auto& [key, node] : table_) {
    if (!asked_.contains(key.str())) refuse_toml(file_, key.source(), "unknown key " + printable(key.str()), hint_);
  }
}

}  // namespace agentvault::policy
