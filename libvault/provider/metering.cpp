#include "provider/metering.hpp"

#include "base/text.hpp"

namespace agentvault::provider {

std::optional<Price> Metering::price_of(std::string_view model) const {
  std::optional<Price> dearest;
  for (const auto& price : prices) {
    if (!glob_matches(price.model, model)) continue;
    if (!dearest || price.output > dearest->output) dearest = price;
  }
  return dearest;
}

std::optional<Metering::Shape> parse_shape(std::string_view text) {
  using Shape = Metering::Shape;
  if (text == "openai") return Shape::openai;
  if (text == "anthropic") return Shape::anthropic;
  if (text == "gemini") return Shape::gemini;
  if (text == "opaque") return Shape::opaque;
  return std::nullopt;
}

}  // namespace agentvault::provider
