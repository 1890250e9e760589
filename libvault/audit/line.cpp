#include "audit/line.hpp"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/text.hpp"

namespace agentvault::audit {
namespace {

constexpr std::size_t kMillisAt = std::string_view("2026-01-01T00:00:00.").size();

/// Stands for itself between quotes.
bool is_plain(char c) {
  return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

void quote(std::string_view value, std::string& out) {
  if (std::all_of(value.begin(), value.end(), is_plain)) {
    out += '"';
    out += value;
    out += '"';
  } else {
    out += nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
}

}  // namespace

void LineWriter::name(std::string_view name) {
  if (!first_) out_ += ',';
  first_ = false;
  out_ += '"';
  out_ += name;
  out_ += "\":";
}

LineWriter& LineWriter::number(std::string_view key, std::uint64_t value) {
  name(key);
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  out_.append(digits, static_cast<std::size_t>(end - digits));
  return *this;
}

LineWriter& LineWriter::text(std::string_view key, std::string_view value) {
  name(key);
  quote(value, out_);
  return *this;
}

LineWriter& LineWriter::list(std::string_view key, std::span<const std::string> values) {
  name(key);
  out_ += '[';
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out_ += ',';
    quote(values[i], out_);
  }
  out_ += ']';
  return *this;
}

std::string_view Clock::now() {
  using namespace std::chrono;
  const auto time = system_clock::now();
  const auto millis = duration_cast<milliseconds>(time.time_since_epoch());
  const auto second = floor<seconds>(millis);
  if (second != second_) {
    text_ = format_time(time);
    second_ = second;
  }
  auto rest = static_cast<unsigned>((millis - second).count());
  for (std::size_t at = kMillisAt + 3; at-- > kMillisAt; rest /= 10) text_[at] = static_cast<char>('0' + rest % 10);
  return text_;
}

}  // namespace agentvault::audit
