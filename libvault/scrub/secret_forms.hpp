// The spellings in which a secret could come back from an upstream, besides its own bytes: base64 at any offset of what
// it stands in (so also inside a Basic pair), base64url, hexadecimal, percent-encoded, JSON-escaped, HTML-escaped.
#pragma once

#include <vector>

#include "base/secret_bytes.hpp"

namespace agentvault::scrub {

/// Those that differ from the secret itself. Where a spelling depends on its neighbours (the first and last character
/// of base64), it is left out there.
std::vector<SecretBytes> encoded_forms(const SecretBytes& secret);

}  // namespace agentvault::scrub
