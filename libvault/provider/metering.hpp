// How a service tells what its models used, and what that costs: data of its preset, looked up when a session begins.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace agentvault::provider {

/// What models used, or can use.
struct ModelTokens {
  std::uint64_t input = 0;
  std::uint64_t output = 0;
  std::uint64_t cache_writes = 0;  // of the input, dearer
  std::uint64_t cache_reads = 0;   // of the input, cheaper
};

/// What a model costs, in US dollars for a million tokens: millionths of a dollar a token.
struct Rates {
  double input = 0;
  double output = 0;
  std::optional<double> cached{};  // input that is read from a cache; nullopt: as other input
};
struct Price {
  std::string model;  // '*' at the end is a version: a date, a number, "latest", "preview"
  Rates rates;
  /// For requests with more input than that.
  std::optional<std::uint64_t> long_above{};
  Rates long_rates{};
};

/// In millionths of a US dollar, rounded up.
std::uint64_t cost_of(const ModelTokens& tokens, const Price& price);

struct Metering {
  /// Whose requests and answers those of the service look like.
  enum class Shape {
    none,    // it has no models
    openai,  // also of the many services that speak like it
    anthropic,
    gemini,
    opaque,  // it has models, and does not tell what they used
  };

  Shape shape = Shape::none;
  std::vector<Price> prices;

  /// The dearest that fits; nothing for an unknown model.
  std::optional<Price> price_of(std::string_view model) const;
};

/// Nothing for anything but "openai", "anthropic", "gemini", "opaque".
std::optional<Metering::Shape> parse_shape(std::string_view text);

}  // namespace agentvault::provider
