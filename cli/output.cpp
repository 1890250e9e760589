#include "output.hpp"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/text.hpp"
#include "terminal.hpp"

namespace agentvault::cli {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kMostOfAText = 65'536;

std::string as_text(const Value& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return printable(*text, kMostOfAText);
  if (const auto* number = std::get_if<std::int64_t>(&value)) return std::to_string(*number);
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "yes" : "no";
  return printable(join(std::get<std::vector<std::string>>(value), ", "), kMostOfAText);
}

ordered_json as_json(const Record& record) {
  ordered_json object = ordered_json::object();
  for (const auto& [key, value] : record) {
    std::visit([&object, &name = key](const auto& content) { object[name] = content; }, value);
  }
  return object;
}

void print_json(const ordered_json& value) {
  std::puts(value.dump(2, ' ', false, ordered_json::error_handler_t::replace).c_str());
}

std::string heading(std::string key) {
  std::transform(key.begin(), key.end(), key.begin(), [](char c) { return c == '_' ? ' ' : to_upper(c); });
  return key;
}

}  // namespace

void print_record(const Record& record, bool json) {
  if (json) return print_json(as_json(record));
  std::size_t width = 0;
  for (const auto& [key, value] : record) width = std::max(width, key.size());
  for (auto [key, value] : record) {
    std::replace(key.begin(), key.end(), '_', ' ');
    std::printf("%-*s  %s\n", static_cast<int>(width + 1), (key + ":").c_str(), as_text(value).c_str());
  }
}

void print_table(const std::vector<Record>& records, bool json, const std::string& empty) {
  if (json) {
    ordered_json list = ordered_json::array();
    for (const auto& record : records) list.push_back(as_json(record));
    return print_json(list);
  }
  if (records.empty()) return note(empty);
  std::vector<std::vector<std::string>> rows(1);
  for (const auto& [key, value] : records.front()) rows.front().push_back(heading(key));
  for (const auto& record : records) {
    auto& row = rows.emplace_back();
    for (const auto& [key, value] : record) row.push_back(as_text(value));
  }
  std::vector<std::size_t> widths(rows.front().size());
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    for (std::size_t i = 0; i + 1 < row.size(); ++i) std::printf("%-*s  ", static_cast<int>(widths[i]), row[i].c_str());
    std::printf("%s\n", row.back().c_str());
  }
}

}  // namespace agentvault::cli
