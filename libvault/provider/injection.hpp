// Where a secret goes in a request, as the user writes it after --inject:
//
//   bearer                    Authorization: Bearer SECRET
//   header:NAME[:TEMPLATE]    NAME: TEMPLATE, with {} for the secret; without a template the bare secret
//   query:FIELD               ?FIELD=SECRET
//   basic:user[:PASSWORD]     Authorization: Basic base64(SECRET:PASSWORD)
//   basic:pass[:USER]         Authorization: Basic base64(USER:SECRET)
#pragma once

#include <string>
#include <string_view>

#include "base/secret_bytes.hpp"

namespace agentvault::provider {

struct Injection {
  enum class Kind { bearer, header, query, basic_user, basic_pass } kind = Kind::bearer;
  std::string name;     // header or query field
  std::string pattern;  // header: with {}; basic: the other side

  /// Throws Error(usage).
  static Injection parse(std::string_view text);
  std::string text() const;

  /// Whether the secret must be one line: everything but basic, which encodes it, and query, which escapes it.
  bool needs_single_line() const { return kind == Kind::bearer || kind == Kind::header; }
  bool operator==(const Injection&) const = default;
};

}  // namespace agentvault::provider
