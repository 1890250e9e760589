// Where a key or a token can stand in a request. Clients put theirs where their SDK does, which need not be where the
// real one goes (libvault/provider/injection.hpp).
//
//   bearer                   Authorization: Bearer KEY, and "token KEY"
//   basic                    Authorization: Basic, either side
//   header:NAME[:TEMPLATE]   NAME: TEMPLATE, with {} for the key
//   query:FIELD              ?FIELD=KEY
//   path:TEMPLATE            the path begins with TEMPLATE, with {} for the key: path:/bot{}
//   body:POINTER             a text in the JSON body (RFC 6901): body:/auth/key
#pragma once

#include <string>
#include <string_view>

namespace agentvault::provider {

struct Place {
  enum class Kind { bearer, basic, header, query, path, body } kind = Kind::bearer;
  std::string name;     // header, query field, JSON pointer
  std::string pattern;  // header, path: with {}

  /// "token" is read as bearer. Throws Error(usage).
  static Place parse(std::string_view text);
  std::string text() const;
  bool operator==(const Place&) const = default;
};

}  // namespace agentvault::provider
