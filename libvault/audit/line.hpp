// One line of the log: a JSON object of numbers, texts and lists of texts, written straight into a buffer that is used
// again. A line is written for each request, twice: a tree of values for each would cost more than all else that the
// broker does with it.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace agentvault::audit {

class LineWriter {
 public:
  /// Appends to `out`.
  explicit LineWriter(std::string& out) : out_(out) { out_ += '{'; }
  void end() { out_ += "}\n"; }

  // Names are ours: they need no escapes.
  LineWriter& number(std::string_view name, std::uint64_t value);
  /// Bytes that are no UTF-8 are replaced by U+FFFD: agents choose some of what is logged.
  LineWriter& text(std::string_view name, std::string_view value);
  LineWriter& list(std::string_view name, std::span<const std::string> values);

 private:
  void name(std::string_view name);

  std::string& out_;
  bool first_ = true;
};

/// format_time() of now, made once a second.
class Clock {
 public:
  std::string_view now();

 private:
  std::chrono::seconds second_{-1};
  std::string text_;
};

}  // namespace agentvault::audit
