#include "base/text.hpp"
#include "commands/commands.hpp"
#include "output.hpp"
#include "session/control.hpp"
#include "session/registry.hpp"

namespace agentvault::cli {

int run_sessions(const Arguments& arguments) {
  const auto paths = arguments.paths_of_vault();
  paths.check();
  std::vector<Record> records;
  for (const auto& name : session::live_sessions(paths)) {
    const auto answer = session::ask_status(paths, name);
    const auto status = answer.value_or(session::SessionStatus{});
    records.push_back({{"id", name},
                       {"pid", static_cast<std::int64_t>(status.pid)},
                       {"agent", status.agent},
                       {"isolation", status.isolation},
                       {"credentials", status.credentials},
                       {"since", answer ? format_time(std::chrono::system_clock::from_time_t(status.since)) : ""},
                       {"requests", static_cast<std::int64_t>(status.requests)},
                       {"command", answer ? status.command : std::string("(does not answer)")}});
  }
  print_table(records, arguments.json, "no session is running");
  return 0;
}

}  // namespace agentvault::cli
