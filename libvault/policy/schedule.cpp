#include "policy/schedule.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>

#include "base/text.hpp"

namespace agentvault::policy {
namespace {

constexpr std::array<std::string_view, 7> kDays{"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

std::optional<int> parse_minute(std::string_view text) {
  if (text.size() != 5 || text[2] != ':') return std::nullopt;
  const auto hour = parse_unsigned(text.substr(0, 2));
  const auto minute = parse_unsigned(text.substr(3));
  if (!hour || !minute || *hour > 24 || *minute > 59 || (*hour == 24 && *minute != 0)) return std::nullopt;
  return static_cast<int>(*hour * 60 + *minute);
}

}  // namespace

LocalTime LocalTime::of(std::chrono::system_clock::time_point time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  ::localtime_r(&seconds, &parts);
  return {parts.tm_hour * 60 + parts.tm_min, parts.tm_wday};
}

std::optional<Schedule> Schedule::parse(std::string_view hours, const std::vector<std::string>& days) {
  Schedule schedule{0, kMinutesOfDay, kEveryDay};
  if (!hours.empty()) {
    const auto dash = hours.find('-');
    if (dash == std::string_view::npos) return std::nullopt;
    const auto from = parse_minute(hours.substr(0, dash));
    const auto until = parse_minute(hours.substr(dash + 1));
    if (!from || !until || *from == *until || *from == kMinutesOfDay) return std::nullopt;
    schedule.from = *from;
    schedule.until = *until;
  }
  if (!days.empty()) schedule.days = 0;
  for (const auto& day : days) {
    const auto* found = std::find(kDays.begin(), kDays.end(), day);
    if (found == kDays.end()) return std::nullopt;
    schedule.days |= 1U << (found - kDays.begin());
  }
  return schedule;
}

bool Schedule::holds(const LocalTime& time) const {
  const auto on = [&](int weekday) { return (days >> weekday & 1U) != 0; };
  if (from < until) return on(time.weekday) && time.minute >= from && time.minute < until;
  return (on(time.weekday) && time.minute >= from) || (on((time.weekday + 6) % 7) && time.minute < until);
}

std::string Schedule::text() const {
  std::vector<std::string> names;
  for (std::size_t day = 0; day < kDays.size(); ++day) {
    if ((days >> day & 1U) != 0) names.emplace_back(kDays[day]);
  }
  char hours[64];
  std::snprintf(hours, sizeof hours, "%02d:%02d-%02d:%02d", from / 60, from % 60, until / 60, until % 60);
  return hours + (days == kEveryDay ? "" : " " + join(names, ","));
}

}  // namespace agentvault::policy
