// What requests to models may hold, so that the most they use is known (schemas/models.md): data, one set for each way
// of speaking.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "provider/metering.hpp"

namespace agentvault::provider {

struct RequestForm {
  enum class Kind { plain, own, choice, form, output, answers, prompts, cache, off, type };
  struct Member {
    Kind kind = Kind::plain;
    std::vector<std::string> choices{};  // Kind::choice
    const RequestForm* form = nullptr;   // Kind::form
  };
  enum class Cost { text, image, twice };

  std::string name;
  std::map<std::string, Member> members;
  std::map<std::string, Cost> types;              // '#' at the end: a number
  std::vector<std::string> needs;                 // one of these; empty: none
  std::map<std::string, std::string> companions;  // of a type: a member that must be there with it
  bool counts_as_image = false;
  bool answerless = false;

  /// Null: what it costs is not known.
  const Member* find(const std::string& member) const;
  const Cost* cost_of_type(std::string_view type) const;
};

struct ModelRequests {
  struct Call {
    std::vector<std::string> paths;
    const RequestForm* form = nullptr;  // null: no model is used
  };
  enum class ModelPlace { body, path };

  std::uint64_t tokens_of_image = 0;
  std::uint64_t tokens_besides = 0;
  std::uint64_t most_output = 0;
  ModelPlace model = ModelPlace::body;
  std::vector<std::string> unbounded_models;  // globs: those that search or run tools by themselves
  std::vector<Call> calls;
  std::map<std::string, RequestForm> forms;  // by name; pointed to from above

  /// Null: no request like this is known.
  const Call* call_at(std::string_view path) const;

  /// Null for shapes that say nothing about their requests. Lives as long as the program.
  static const ModelRequests* of(Metering::Shape shape);
};

}  // namespace agentvault::provider
