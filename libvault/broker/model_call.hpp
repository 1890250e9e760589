// Requests to language models: the most that one can use before it is forwarded, and what its answer says it used.
//
// The bound rests on: a token stands for at least one byte of the request; an image costs at most kTokensOfImage; a
// provider's own additions at most kTokensBesides; no model answers with more than kMostOutput tokens. What could bring
// in more than the request holds (files, documents, earlier conversations, tools that the provider runs) has no bound.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "base/bytes.hpp"
#include "provider/metering.hpp"

namespace agentvault::broker {

struct ModelTokens {
  std::uint64_t input = 0;
  std::uint64_t output = 0;
  std::uint64_t cache_writes = 0;  // of the input, dearer
};

struct ModelCall {
  std::string model;
  ModelTokens most;
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

/// In millionths of a US dollar, rounded up.
std::uint64_t cost_of(const ModelTokens& tokens, const provider::Price& price);

/// Reads an answer as it passes by: JSON, or an event stream (WHATWG HTML, section 9.2).
class UsageReader {
 public:
  UsageReader(provider::Metering::Shape shape, bool event_stream) : shape_(shape), event_stream_(event_stream) {}

  void feed(ByteView bytes);
  /// What was said so far; nothing: nothing was.
  std::optional<ModelTokens> finish();

 private:
  void read_line(std::string_view line);
  void read_message(std::string_view json);

  provider::Metering::Shape shape_;
  bool event_stream_;
  bool overflowed_ = false;
  bool final_ = false;   // what was said is of the whole answer
  std::string pending_;  // of the document, or of a line
  std::string event_;    // data of the current event
  std::optional<ModelTokens> tokens_;
};

}  // namespace agentvault::broker
