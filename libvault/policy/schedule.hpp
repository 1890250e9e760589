// Times of day and days of the week, on the clock of the machine that runs the session.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace agentvault::policy {

/// Minutes since midnight and day of the week (0: Sunday), local time.
struct LocalTime {
  int minute = 0;
  int weekday = 0;
  static LocalTime of(std::chrono::system_clock::time_point time);
};

struct Schedule {
  int from = 0;               // minutes since midnight
  int until = 0;              // not included; before `from`: on the next day
  unsigned days = kEveryDay;  // bit 0: Sunday; of a time past midnight, the day on which it began

  static constexpr unsigned kEveryDay = 0x7f;
  static constexpr int kMinutesOfDay = 24 * 60;

  /// "08:00-18:00", "22:00-06:00", "00:00-24:00"; days "mon", "tue" ... Nothing for anything else.
  static std::optional<Schedule> parse(std::string_view hours, const std::vector<std::string>& days);
  bool holds(const LocalTime& time) const;
  std::string text() const;

  bool operator==(const Schedule&) const = default;
};

}  // namespace agentvault::policy
