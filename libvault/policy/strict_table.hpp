// A TOML table, read strictly: every key is asked for, and what nobody asked for is an error with its line and column.
#pragma once

#include <toml++/toml.h>

#include <set>
#include <string>
#include <vector>

namespace agentvault::policy {

/// Throws Error(usage): "FILE:LINE:COLUMN: WHAT".
[[noreturn]] void refuse_toml(const std::string& file, const toml::source_region& where, const std::string& what,
                              const std::string& hint);

/// Throws Error(usage) for what is no TOML.
toml::table parse_toml(std::string_view text, const std::string& file, const std::string& hint);

/// Everything throws Error(usage) for a value of another type. The table must outlive this.
class StrictTable {
 public:
  StrictTable(const toml::table& table, std::string file, std::string hint)
      : table_(table), file_(std::move(file)), hint_(std::move(hint)) {}

  bool has(std::string_view key) const { return table_.contains(key); }
  std::string text(std::string_view key, bool required);
  std::vector<std::string> texts(std::string_view key);
  bool flag(std::string_view key);
  double amount(std::string_view key);
  /// A whole number from `least` on.
  std::uint64_t count(std::string_view key, std::uint64_t least, std::uint64_t most);
  /// Null: there is none.
  const toml::table* table(std::string_view key);
  const toml::array* tables(std::string_view key);
  const toml::node* node(std::string_view key);

  void refuse_unknown() const;
  [[noreturn]] void refuse(const toml::node& where, const std::string& what) const {
    refuse_toml(file_, where.source(), what, hint_);
  }
  /// The value of `key`, or the table itself, is wrong.
  [[noreturn]] void refuse(std::string_view key, const std::string& what) const;

  const toml::table& source() const { return table_; }
  const std::string& file() const { return file_; }
  const std::string& hint() const { return hint_; }

 private:
  const toml::table& table_;
  std::string file_;
  std::string hint_;
  std::set<std::string, std::less<>> asked_;
};

}  // namespace agentvault::policy
