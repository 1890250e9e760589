// One rule: what a request must be like for it to match, and what follows then (schemas/policy.md).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "http/path_pattern.hpp"
#include "policy/content.hpp"
#include "policy/schedule.hpp"
#include "policy/values.hpp"

namespace agentvault::policy {

/// Deny beats approve, approve beats allow.
enum class Effect { allow, approve, deny };
std::string_view name_of(Effect effect);

/// What a session has seen so far, as far as rules ask.
struct History {
  bool first_host = false;  // no request to this host was allowed before
  bool first_path = false;  // none of this credential and method to this path
  unsigned denials = 0;     // in the last minute
};

/// What is judged: exactly what will be forwarded.
struct Facts {
  std::string_view credential;  // "": none goes with it
  std::string_view host;
  std::string_view method;
  std::string_view path;                       // the normal form (http/target.hpp)
  const std::string* query = nullptr;          // without '?'; null: none
  const http::Fields* fields = nullptr;        // null: none
  const Content* content = nullptr;            // null: nobody asked
  std::optional<std::uint64_t> body_size = 0;  // nothing: not known before it has been sent
  LocalTime time;
  History history;
  bool method_in_doubt = false;  // some servers take another one from a field (may_mean_another_method)
};

/// Whether a field of query or body names a method, as many frameworks obey it ("_method").
bool may_mean_another_method(const Facts& facts);

/// When a rule that allows asks a person instead. Any of them will do.
struct ApproveWhen {
  bool first_host = false;
  bool first_path = false;
  std::optional<unsigned> denials_per_minute;  // so many, or more
  std::optional<Schedule> hours;

  bool holds(const Facts& facts) const;
  bool operator==(const ApproveWhen&) const = default;
};

/// What stands in a GraphQL request: every operation and field must be listed for a rule that allows, one for the
/// others.
struct GraphqlTerms {
  std::set<Operation> kinds;        // empty: any
  std::vector<std::string> names;   // of operations; '*' is any run of characters; empty: any
  std::vector<std::string> fields;  // of the roots; likewise

  bool empty() const { return kinds.empty() && names.empty() && fields.empty(); }
  bool operator==(const GraphqlTerms&) const = default;
};

/// Between two places of a JSON body (pointers), which must both be there.
struct Relation {
  enum class Kind { equals, at_most } kind = Kind::equals;
  std::string left;
  std::string right;

  bool operator==(const Relation&) const = default;
};

struct Rule {
  Effect effect = Effect::allow;
  std::vector<std::string> methods;      // empty or "*": every method
  std::vector<http::PathPattern> paths;  // empty: every path
  std::vector<std::string> credentials;  // empty: every one, and requests without
  std::vector<std::string> hosts;        // "*.example.net" is one label or more; empty: every one
  std::map<std::string, Values> query;
  std::map<std::string, Values> headers;
  std::map<std::string, Values> form;
  std::map<std::string, Values> body;  // by JSON pointer
  std::vector<Relation> relations;
  GraphqlTerms graphql;
  std::optional<std::uint64_t> max_body;  // bytes
  std::optional<Schedule> hours;
  std::optional<ApproveWhen> approve_when;
  unsigned line = 0;  // in its file; 0: of a preset

  bool concerns(std::string_view credential) const;
  /// What a rule takes away it takes away in any spelling.
  bool has_method(std::string_view method) const;
  bool has_host(std::string_view host) const;
  /// Everything but the path. What cannot be told counts against the request.
  bool holds(const Facts& facts) const;
  /// unknown: it may be about the request, and that cannot be told.
  Match match(const Facts& facts) const;
  /// The same for a tunnel to facts.host, into which nobody looks.
  bool may_be_about_tunnel(const Facts& facts) const;
  /// What follows if it does.
  Effect effect_on(const Facts& facts) const;
  Questions questions() const;

  bool operator==(const Rule&) const = default;
};

/// "allow POST /v1/responses body /model=gpt-5*"
std::string describe(const Rule& rule);

}  // namespace agentvault::policy
