#include "base/encoding.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "output.hpp"
#include "session/registry.hpp"
#include "store/database.hpp"

namespace agentvault::cli {

int run_status(const Arguments& arguments) {
  const auto paths = arguments.paths_of_vault();
  paths.check();
  const auto snapshot = store::Database::open(paths.database()).newest();
  const auto tpm = tpm::TransportName::parse_stored(snapshot.vault.tpm);
  print_record(
      {{"vault", paths.directory.string()},
       {"id", hex(snapshot.vault.id)},
       {"created", format_time(std::chrono::system_clock::from_time_t(snapshot.vault.created))},
       {"tpm", tpm.text()},
       {"protection", tpm.description()},
       {"epoch", static_cast<std::int64_t>(snapshot.stage.epoch)},
       {"generation", static_cast<std::int64_t>(snapshot.stage.generation)},
       {"barrier", std::string(snapshot.stage.pending ? "incomplete: the next command that opens the vault finishes it"
                                                      : "complete")},
       {"credentials", static_cast<std::int64_t>(snapshot.credentials.size())},
       {"sessions", static_cast<std::int64_t>(session::live_sessions(paths).size())},
       {"verified", false}},
      arguments.json);
  return 0;
}

}  // namespace agentvault::cli
