// What a GraphQL document asks for (GraphQL specification, October 2021, section 2): the kinds and names of its
// operations, and the fields of their roots. Reads only as much as that takes: what is no plain document has no answer.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace agentvault::policy {

enum class Operation { query, mutation, subscription };

/// Of all operations that stand in a document, whichever of them would be run.
struct GraphqlRequest {
  std::set<Operation> kinds;
  std::set<std::string> names;   // "" of one without
  std::set<std::string> fields;  // those that stand first, also by way of fragments; without their aliases

  void add(const GraphqlRequest& other);
  bool operator==(const GraphqlRequest&) const = default;
};

/// Nothing: not understood.
std::optional<GraphqlRequest> read_graphql(std::string_view document);

}  // namespace agentvault::policy
