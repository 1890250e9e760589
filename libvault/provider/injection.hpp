// Where a secret goes in a request, as the user writes it after --inject:
//
//   basic:user[:PASSWORD]     Authorization: Basic base64(SECRET:PASSWORD)
//   basic:pass[:USER]         Authorization: Basic base64(USER:SECRET)
//   every other Place         bearer, header:NAME[:TEMPLATE], query:FIELD, path:TEMPLATE, body:POINTER
#pragma once

#include <string>
#include <string_view>

#include "base/secret_bytes.hpp"
#include "provider/place.hpp"

namespace agentvault::provider {

struct Injection {
  Place place;
  bool secret_is_user = false;  // basic: on which side the secret stands ...
  std::string other_side;       // ... and what stands on the other one; "": what the client gave

  /// Throws Error(usage).
  static Injection parse(std::string_view text);
  std::string text() const;

  /// Whether the secret must be one line: everything that does not encode or escape it.
  bool needs_single_line() const { return place.kind == Place::Kind::bearer || place.kind == Place::Kind::header; }
  bool operator==(const Injection&) const = default;
};

}  // namespace agentvault::provider
