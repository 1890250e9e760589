#include "http/fields.hpp"

#include <algorithm>
#include <array>

#include "base/text.hpp"

namespace agentvault::http {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kMarksOfTokens = "!#$%&'*+-.^_`|~";

template <class Value>
constexpr std::array<Value, 256> table(Value (*of)(char)) {
  std::array<Value, 256> all{};
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = of(static_cast<char>(i));
  return all;
}

constexpr auto kTokenCharacters = table<bool>(
    [](char c) { return is_alphanumeric(c) || (c != '\0' && kMarksOfTokens.find(c) != std::string_view::npos); });
constexpr auto kFolded = table<char>([](char c) { return is_alphanumeric(c) ? to_lower(c) : '-'; });

char folded(char c) {
  return kFolded[static_cast<unsigned char>(c)];
}

/// About the connection, not the message (RFC 9110, section 7.6.1).
constexpr std::array kHopByHop{"connection"sv,
                               "keep-alive"sv,
                               "proxy-connection"sv,
                               "proxy-authenticate"sv,
                               "proxy-authorization"sv,
                               "te"sv,
                               "transfer-encoding"sv,
                               "upgrade"sv,
                               "trailer"sv};

}  // namespace

void Fields::remove(std::span<const std::string_view> names) {
  std::erase_if(list_, [&](const Field& field) {
    return std::any_of(names.begin(), names.end(), [&](auto name) { return same_field_name(field.name, name); });
  });
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
  return kTokenCharacters[static_cast<unsigned char>(c)];
}

bool same_field_name(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return folded(x) == folded(y); });
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
  std::vector<std::string> named;
  for (const auto& field : fields.list()) {
    if (!equal_ignoring_case(field.name, "connection")) continue;
    for (auto part : split(field.value, ',')) named.emplace_back(trim(part));
  }
  fields.remove(kHopByHop);
  for (const auto& name : named) fields.remove(name);
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
