// What the answers of models say that they used.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "provider/metering.hpp"

namespace agentvault::budget {

/// Reads an answer as it passes by: JSON, or an event stream (WHATWG HTML, section 9.2).
class UsageReader {
 public:
  UsageReader(provider::Metering::Shape shape, bool event_stream) : shape_(shape), event_stream_(event_stream) {}

  void feed(ByteView bytes);
  /// What was said so far; nothing: nothing was.
  std::optional<provider::ModelTokens> finish();

 private:
  void read_line(std::string_view line);
  void read_message(std::string_view json);

  provider::Metering::Shape shape_;
  bool event_stream_;
  bool overflowed_ = false;
  bool final_ = false;   // what was said is of the whole answer
  std::string pending_;  // of the document, or of a line
  std::string event_;    // data of the current event
  std::optional<provider::ModelTokens> tokens_;
};

}  // namespace agentvault::budget
