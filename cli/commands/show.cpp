#include <algorithm>

#include "base/error.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "output.hpp"
#include "provider/binding.hpp"
#include "rule_lines.hpp"
#include "store/database.hpp"

namespace agentvault::cli {
int run_show(const Arguments& arguments) {
  const auto paths = arguments.paths_of_vault();
  paths.check();
  const auto snapshot = store::Database::open(paths.database()).newest();
  const auto found = std::find_if(snapshot.credentials.begin(), snapshot.credentials.end(),
                                  [&](const auto& row) { return row.name == arguments.name; });
  if (found == snapshot.credentials.end()) {
    throw Error(ErrorKind::not_found, "there is no credential named " + printable(arguments.name),
                "\"agentvault list\" shows the names");
  }
  const auto binding = provider::Binding::from_json(found->binding);
  Record record{{"name", found->name},
                {"provider", binding.provider},
                {"origin", binding.origin.text()},
                {"base", binding.base},
                {"inject", binding.inject.text()},
                {"env", binding.env},
                {"env_url", binding.env_url},
                {"own_ca", !binding.ca_pem.empty()},
                {"version", static_cast<std::int64_t>(found->version)},
                {"changed", format_time(std::chrono::system_clock::from_time_t(found->changed))},
                {"verified", false}};
  add_rules(binding.rules, arguments.json, record);
  print_record(record, arguments.json);
  return 0;
}

}  // namespace agentvault::cli
