// The binding of a credential: the exact origin its secret may go to, how it is put in, what the child's environment
// gets, and a snapshot of its preset's rules (schemas/binding.md). Stored as canonical JSON, which is part of the
// secret's associated data: a changed binding does not decrypt.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "net/origin.hpp"
#include "policy/rule.hpp"
#include "provider/injection.hpp"

namespace agentvault::provider {

struct Binding {
  std::string provider;  // name of the preset it was made from
  net::Origin origin;
  std::string base;  // required prefix of every path, "" or "/v1": never added by us
  Injection inject;
  std::vector<Place> accept;         // where clients put their key; empty: the usual places
  std::vector<std::string> env;      // variables that get a token
  std::vector<std::string> env_url;  // variables that get the broker's URL ...
  std::string client_base;           // ... with this behind it
  std::string ca_pem;                // the only roots to trust for this origin; empty: the system's
  bool anonymous = false;            // requests without any key are of use there, too
  bool git = false;                  // git speaks to it
  bool opaque_slashes = false;       // %2F in a path is a character of a name to this service
  std::vector<policy::Rule> rules;

  /// Where a token may stand in a request: `accept`, or the usual places, and always where the secret goes.
  std::vector<Place> places() const;

  /// Whether the path is the base or under it.
  bool covers(std::string_view path) const;

  std::string to_json() const;
  /// Throws Error(integrity): only this program writes it.
  static Binding from_json(std::string_view text);
};

/// "" or "/v1", "/api/v4": a normal path without an end slash. Throws Error(usage).
std::string parse_base(std::string_view text);

}  // namespace agentvault::provider
