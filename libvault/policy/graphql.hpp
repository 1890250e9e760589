// Which kinds of operations a GraphQL document holds (GraphQL specification, October 2021, sections 2.1 and 2.3). Reads
// only as much as that takes: what is no plain document has no answer.
#pragma once

#include <optional>
#include <set>
#include <string_view>

namespace agentvault::policy {

enum class Operation { query, mutation, subscription };

/// All that stand in the document, whichever of them would be run. Nothing: not understood.
std::optional<std::set<Operation>> graphql_operations(std::string_view document);

}  // namespace agentvault::policy
