#include "base/text.hpp"
#include "commands/commands.hpp"
#include "output.hpp"
#include "provider/binding.hpp"
#include "store/database.hpp"

namespace agentvault::cli {

int run_list(const Arguments& arguments) {
  const auto paths = arguments.paths_of_vault();
  paths.check();
  std::vector<Record> records;
  for (const auto& row : store::Database::open(paths.database()).newest().credentials) {
    const auto binding = provider::Binding::from_json(row.binding);
    records.push_back({{"name", row.name},
                       {"provider", binding.provider},
                       {"origin", binding.origin.text() + binding.base},
                       {"env", binding.env},
                       {"changed", format_time(std::chrono::system_clock::from_time_t(row.changed))}});
  }
  print_table(records, arguments.json, "the vault holds no credential: \"agentvault add openai\" stores one");
  return 0;
}

}  // namespace agentvault::cli
