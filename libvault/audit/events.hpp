// What can be said about a session (schemas/audit-event.schema.json). Events are built from these types only. None of
// them can hold a secret: no header values, no query, no body. They refer to text of whoever writes one.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace agentvault::audit {

struct SessionBegan {
  std::string_view agent;
  std::span<const std::string> credentials;
  std::string_view isolation;
  std::string_view tpm;
};

struct SessionEnded {
  std::string_view reason;
};

/// Something was taken from the session while it ran.
struct AuthorityWithdrawn {
  std::string_view what;  // "everything", "token ID", "credential NAME"
};

enum class Decision { allow, deny, ask };

/// Written before anything is forwarded; of a request that a person is asked about also before that.
struct RequestDecided {
  std::uint64_t request = 0;
  std::string_view token;  // id of the token that was presented, empty without a good one
  std::span<const std::string> chain;
  std::string_view credential;  // "": none went with it
  std::string_view host;        // the upstream's, with port; "": it was not understood
  std::string_view method;
  std::string_view path;  // without the query
  Decision decision = Decision::deny;
  std::string_view reason;  // the rule, or the code of the refusal
};

/// Written when the response has ended, however it did.
struct RequestSettled {
  std::uint64_t request = 0;
  int status = 0;  // 0: no response
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t scrubbed = 0;  // how often a secret was found in the response and taken out
  std::uint64_t milliseconds = 0;
  std::string_view ended;  // "complete", or why not
};

}  // namespace agentvault::audit
