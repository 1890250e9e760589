// Results on stdout: for people as aligned text, with --json as JSON. One list of named values serves both.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace agentvault::cli {

using Value = std::variant<std::string, std::int64_t, bool, std::vector<std::string>>;
using Record = std::vector<std::pair<std::string, Value>>;

/// One thing: "name: value" lines, or a JSON object.
void print_record(const Record& record, bool json);
/// Many of a kind: a table with the keys of the first as its heading, or a JSON array. Nothing to print: `empty`, which
/// goes to stderr.
void print_table(const std::vector<Record>& records, bool json, const std::string& empty);

}  // namespace agentvault::cli
