#include "base/encoding.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "output.hpp"
#include "session/registry.hpp"
#include "store/database.hpp"

namespace agentvault::cli {
namespace {

std::string barrier_state(const store::Snapshot& snapshot, const std::vector<store::Intent>& intents) {
  if (snapshot.stage.pending) return "incomplete: the next command that opens the vault finishes it";
  if (!intents.empty()) return "a revocation waits: the next command that opens the vault finishes it";
  return "complete";
}

std::vector<std::string> not_backed_up(store::Database& database, const store::Snapshot& snapshot) {
  std::vector<std::string> names;
  for (const auto& row : snapshot.credentials) {
    if (!database.is_backed_up(row)) names.push_back(row.name);
  }
  return names;
}

}  // namespace

int run_status(const Arguments& arguments) {
  const auto paths = arguments.paths_of_vault();
  paths.check();
  auto database = store::Database::open(paths.database());
  const auto snapshot = database.newest();
  const auto tpm = tpm::TransportName::parse_stored(snapshot.vault.tpm);
  print_record({{"vault", paths.shown().string()},
                {"id", hex(snapshot.vault.id)},
                {"created", format_time(std::chrono::system_clock::from_time_t(snapshot.vault.created))},
                {"tpm", tpm.text()},
                {"protection", tpm.description()},
                {"epoch", static_cast<std::int64_t>(snapshot.stage.epoch)},
                {"generation", static_cast<std::int64_t>(snapshot.stage.generation)},
                {"rollback protection", !snapshot.vault.counter.empty()},
                {"barrier", barrier_state(snapshot, database.intents())},
                {"pcrs", snapshot.stage.pcrs},
                {"credentials", static_cast<std::int64_t>(snapshot.credentials.size())},
                {"not in the last backup", not_backed_up(database, snapshot)},
                {"revoked agents", snapshot.revoked_agents},
                {"sessions", static_cast<std::int64_t>(session::live_sessions(paths).size())},
                {"verified", false}},
               arguments.json);
  return 0;
}

}  // namespace agentvault::cli
