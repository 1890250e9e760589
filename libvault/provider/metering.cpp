#include "provider/metering.hpp"

#include <algorithm>
#include <cmath>

#include "base/text.hpp"

namespace agentvault::provider {
namespace {

constexpr double kCacheWriteFactor = 2;  // of the input's price, the dearest that is known

/// "-2024-07-18", "-latest", "-preview-09-2025": still the same model. "-search-preview" or ":online" is another one.
bool is_version(std::string_view suffix) {
  for (const auto part : split(suffix, '-')) {
    const bool number = std::all_of(part.begin(), part.end(), [](char c) { return is_digit(c) || c == '.'; });
    if (!number && part != "latest" && part != "preview" && part != "exp") return false;
  }
  return true;
}

bool is_for(const Price& price, std::string_view model) {
  const std::string_view wanted = price.model;
  if (!wanted.ends_with('*')) return wanted == model;
  const auto stem = wanted.substr(0, wanted.size() - 1);
  return model.starts_with(stem) && is_version(model.substr(stem.size()));
}

}  // namespace

std::optional<Price> Metering::price_of(std::string_view model) const {
  std::optional<Price> dearest;
  for (const auto& price : prices) {
    if (!is_for(price, model)) continue;
    if (!dearest || price.rates.output > dearest->rates.output) dearest = price;
  }
  return dearest;
}

std::uint64_t cost_of(const ModelTokens& tokens, const Price& price) {
  const auto& rates = price.long_above && tokens.input > *price.long_above ? price.long_rates : price.rates;
  const auto writes = std::min(tokens.cache_writes, tokens.input);
  const auto reads = std::min(tokens.cache_reads, tokens.input - writes);
  const auto plain = tokens.input - writes - reads;
  const double cost = static_cast<double>(plain) * rates.input +
                      static_cast<double>(writes) * rates.input * kCacheWriteFactor +
                      static_cast<double>(reads) * rates.cached.value_or(rates.input) +
                      static_cast<double>(tokens.output) * rates.output;
  return static_cast<std::uint64_t>(std::ceil(std::min(cost, 1e15)));
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
