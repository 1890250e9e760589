// What the broker itself says to the agent: JSON with error.code, error.message and error.hint.
#pragma once

#include <cstdint>
#include <string>

namespace agentvault::broker {

struct Refusal {
  int status;                     // below 400: what was asked of the broker itself is done
  std::string code;               // stable, for programs
  std::string message;            // one sentence
  std::string hint;               // the next step
  std::uint64_t retry_after = 0;  // seconds; 0: it is not a matter of time
};

/// Said in several places in the same words.
Refusal token_expired();

const char* reason_phrase(int status);

/// A complete response. 401 carries the challenge that clients wait for.
std::string write_refusal(const Refusal& refusal, bool keep_alive, bool with_body);

}  // namespace agentvault::broker
