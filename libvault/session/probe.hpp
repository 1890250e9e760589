// One harmless request through a real session of its own: shows on the wire that a credential's token is taken out and
// its key put in.
#pragma once

#include <string>

#include "session/opener.hpp"

namespace agentvault::session {

struct Probe {
  std::string request;   // "GET https://api.example.org/v1/models"
  std::string token_at;  // the place where the token was sent
  std::string key_at;    // the injection that replaced it
  int status = 0;        // of the answer; 0: there was none
  std::string refusal;   // code of the broker's own refusal; "": the upstream answered
  std::string message;   // of the refusal
};

/// Chooses a GET that the credential's rules allow. Throws Error(usage) when they allow none, and what opening the
/// vault throws.
Probe probe(OpenRequest request, const std::string& credential);

}  // namespace agentvault::session
