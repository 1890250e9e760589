// JSON bodies that a credential's key goes into.
#pragma once

#include <string>
#include <string_view>
#include <variant>

namespace agentvault::broker {

inline constexpr std::size_t kMaxJsonBody = std::size_t{1} << 20;  // it lies in locked memory for a moment

struct BadJson {
  std::string reason;
};
/// The text at a pointer, and the rest of the document around it, byte for byte: `before` ends with the opening quote,
/// `behind` begins with the closing one.
struct CutText {
  std::string value;
  std::string before;
  std::string behind;
};

/// Refused: what is no JSON object, has a key twice, is nested deeper than 64, or has no text at `pointer` (RFC 6901).
std::variant<BadJson, CutText> cut_text_out(const std::string& body, const std::string& pointer);

}  // namespace agentvault::broker
