// Requests to language models: the most that one can use, before it is forwarded. What such a request may hold is data
// (schemas/models.md); one that holds anything else has no known bound.
#pragma once

#include <string>
#include <variant>

#include "provider/metering.hpp"

namespace agentvault::budget {

struct ModelCall {
  std::string model;
  provider::ModelTokens most;
};
/// A request that uses no model: listing, reading, counting.
struct NoModelCall {};
struct Unbounded {
  std::string reason;  // for the agent: "the request names no model"
};

/// `body` is the whole body, or null when it was not read.
std::variant<NoModelCall, ModelCall, Unbounded> read_model_call(provider::Metering::Shape shape,
                                                                const std::string& method, const std::string& path,
                                                                const std::string* body);

}  // namespace agentvault::budget
