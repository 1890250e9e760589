// Header or trailer fields of one message, in order, names compared without case (RFC 9110, section 5). Where something
// is taken away, names that some stacks take for it count as well.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace agentvault::http {

struct Field {
  std::string name;
  std::string value;  // without surrounding white space
};

class Fields {
 public:
  void add(std::string name, std::string value) { list_.push_back({std::move(name), std::move(value)}); }
  /// Also look-alikes.
  void remove(std::string_view name) { remove(std::span(&name, 1)); }
  void remove(std::span<const std::string_view> names);

  /// The first value, or null.
  const std::string* find(std::string_view name) const;
  std::size_t count(std::string_view name) const;
  bool has(std::string_view name) const { return find(name) != nullptr; }
  /// Whether a comma-separated list in any field of this name holds the token, without case.
  bool lists(std::string_view name, std::string_view token) const;

  std::vector<Field>& list() { return list_; }
  const std::vector<Field>& list() const { return list_; }

 private:
  std::vector<Field> list_;
};

/// RFC 9110, section 5.6.2.
bool is_token_character(char c);
bool is_token(std::string_view text);
/// Without case, and with every mark taken for the same one: CGI (RFC 3875) reads `_` as `-`, PHP and others every mark
/// that is no letter or digit.
bool same_field_name(std::string_view a, std::string_view b);
/// No control characters but a tab (RFC 9110, section 5.5).
bool is_field_value(std::string_view text);

/// Fields about one connection, not about the message (RFC 9110, section 7.6.1), and those that Connection names.
void remove_hop_by_hop(Fields& fields);

/// "Name: value\r\n" for each.
void write_fields(const Fields& fields, std::string& out);

}  // namespace agentvault::http
