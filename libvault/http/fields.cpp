#include "http/fields.hpp"

#include <algorithm>
#include <array>

#include "base/text.hpp"

namespace agentvault::http {

void Fields::remove(std::string_view name) {
  std::erase_if(list_, [&](const Field& field) { return same_field_name(field.name, name); });
}

const std::string* Fields::find(std::string_view name) const {
  for (const auto& field : list_) {
    if (equal_ignoring_case(field.name, name)) return &field.value;
  }
  return nullptr;
}

std::size_t Fields::count(std::string_view name) const {
  return static_cast<std::size_t>(std::count_if(
      list_.begin(), list_.end(), [&](const Field& field) { return equal_ignoring_case(field.name, name); }));
}

bool Fields::lists(std::string_view name, std::string_view token) const {
  for (const auto& field : list_) {
    if (!equal_ignoring_case(field.name, name)) continue;
    for (auto part : split(field.value, ',')) {
      if (equal_ignoring_case(trim(part), token)) return true;
    }
  }
  return false;
}

bool is_token_character(char c) {
  return is_alphanumeric(c) || (c != '\0' && std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos);
}

bool same_field_name(std::string_view a, std::string_view b) {
  const auto plain = [](char c) { return is_alphanumeric(c) ? to_lower(c) : '-'; };
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [&](char x, char y) { return plain(x) == plain(y); });
}

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_token_character);
}

bool is_field_value(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
  });
}

void remove_hop_by_hop(Fields& fields) {
  std::vector<std::string> names{
      "connection",        "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te",
      "transfer-encoding", "upgrade",    "trailer"};
  for (const auto& field : fields.list()) {
    if (!equal_ignoring_case(field.name, "connection")) continue;
    for (auto part : split(field.value, ',')) names.emplace_back(trim(part));
  }
  for (const auto& name : names) fields.remove(name);
}

void write_fields(const Fields& fields, std::string& out) {
  for (const auto& field : fields.list()) {
    out += field.name;
    out += ": ";
    out += field.value;
    out += "\r\n";
  }
}

}  // namespace agentvault::http
