#include <algorithm>
#include <cstdio>

#include "base/error.hpp"
#include "base/text.hpp"
#include "budget/ledger.hpp"
#include "commands/commands.hpp"
#include "output.hpp"

namespace agentvault::cli {
namespace {

constexpr std::uint64_t kDay = 86'400;

std::string dollars(std::uint64_t microusd) {
  char text[40];
  std::snprintf(text, sizeof text, "%.6f", static_cast<double>(microusd) / 1e6);
  return text;
}

}  // namespace

int run_budget_show(const Arguments& arguments) {
  const auto paths = arguments.paths_of_vault();
  paths.check();
  std::vector<Record> records;
  for (const auto& agent : paths.counted_agents()) {
    if (!arguments.agent_name.empty() && agent != arguments.agent_name) continue;
    for (const auto& [scope, used] : budget::Ledger::look(paths.budget(agent))) {
      const auto day = std::chrono::system_clock::from_time_t(static_cast<std::time_t>(used.day * kDay));
      records.push_back({{"agent", agent},
                         {"credential", scope.empty() ? std::string("(all)") : scope},
                         {"day", format_time(day).substr(0, 10)},
                         {"requests", static_cast<std::int64_t>(used.day_requests)},
                         {"tokens", static_cast<std::int64_t>(used.day_tokens)},
                         {"usd", dollars(used.day_microusd)}});
    }
  }
  print_table(records, arguments.json, "nothing was counted yet");
  return 0;
}

int run_budget_reset(const Arguments& arguments) {
  const auto paths = arguments.paths_of_vault();
  paths.check();
  const auto agents = paths.counted_agents();
  if (std::find(agents.begin(), agents.end(), arguments.agent_name) == agents.end()) {
    throw Error(ErrorKind::not_found, "no budget of " + printable(arguments.agent_name) + " was counted",
                "\"agentvault budget show\" lists those that were");
  }
  budget::Ledger::reset(paths.budget(arguments.agent_name));
  std::fprintf(stderr, "agentvault: the budget of %s begins anew\n", arguments.agent_name.c_str());
  return 0;
}

}  // namespace agentvault::cli
