#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>

#include "base/error.hpp"
#include "base/text.hpp"
#include "client_check.hpp"
#include "commands/commands.hpp"
#include "net/outer_proxy.hpp"
#include "output.hpp"
#include "provider/preset.hpp"
#include "session/isolation.hpp"
#include "session/probe.hpp"
#include "store/database.hpp"
#include "terminal.hpp"

namespace agentvault::cli {
namespace {

constexpr rlim_t kLockedMemory = rlim_t{4} << 20;

/// Runs a check; what it throws becomes its result.
template <class Check>
Record checked(const char* subject, const Check& check) {
  try {
    return {{"subject", subject}, {"verdict", "ok"}, {"detail", std::string(check())}};
  } catch (const Error& error) {
    return {{"subject", subject}, {"verdict", "problem"}, {"detail", std::string(error.what()) + "; " + error.hint()}};
  }
}

std::string check_vault(const Arguments& arguments) {
  const auto paths = arguments.paths_of_vault();
  paths.check();
  const auto snapshot = store::Database::open(paths.database()).newest();
  return paths.shown().string() + ", " + std::to_string(snapshot.credentials.size()) + " credentials, " +
         tpm::TransportName::parse_stored(snapshot.vault.tpm).description();
}

std::string check_proxy() {
  const auto proxy = net::OuterProxy::from_environment(::getenv);
  return proxy ? "upstreams are reached through " + proxy->host() + ":" + std::to_string(proxy->port())
               : "upstreams are reached directly";
}

std::string check_memory() {
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  if (limit.rlim_cur >= kLockedMemory) return "secrets are locked in memory";
  throw Error(ErrorKind::failed, "less than 4 MiB may be locked: secrets could reach the swap",
              "raise RLIMIT_MEMLOCK (ulimit -l)");
}

std::string check_presets() {
  const auto folder = provider::preset_folder();
  return std::to_string(provider::Presets::load(folder).list().size()) + " presets; your own go into " +
         folder.string();
}

/// One that cannot be set up is no fault of the vault's.
Record level_record(const session::LevelCheck& check) {
  const std::string subject = "isolation " + std::string(name_of(check.level));
  if (!check.problem.empty()) return {{"subject", subject}, {"verdict", "unsupported"}, {"detail", check.problem}};
  return {{"subject", subject},
          {"verdict", "on"},
          {"detail",
           check.limits.empty() ? "does not prevent that you run later what an agent has written" : check.limits}};
}

std::string verdict_of(const session::Probe& probe) {
  if (!probe.refusal.empty()) return "the key was not sent: " + probe.message + " (" + probe.refusal + ")";
  if (probe.status == 0) return "there was no answer";
  if (probe.status == 401 || probe.status == 403) return "the key arrived, and the service did not accept it";
  if (probe.status < 300) return "the key arrived and was accepted";
  return "the key arrived; the answer does not tell whether it is accepted";
}

int run_probe(const Arguments& a) {
  const session::OpenRequest request{a.paths_of_vault(),
                                     a.tpm_override(),
                                     [file = a.pin_file] { return obtain_pin(file); },
                                     {a.probe},
                                     "default",
                                     {},
                                     {}};
  const auto probe = session::probe(request, a.probe);
  const bool arrived = probe.refusal.empty() && probe.status != 0;
  const bool refused = arrived && (probe.status == 401 || probe.status == 403);
  print_record({{"credential", a.probe},
                {"request", probe.request},
                {"token", "sent as " + probe.token_at + ", and taken out"},
                {"key", arrived ? "put in as " + probe.key_at : "not put in"},
                {"status", static_cast<std::int64_t>(probe.status)},
                {"verdict", verdict_of(probe)}},
               a.json);
  return arrived && !refused ? 0 : 1;
}

}  // namespace

int run_doctor(const Arguments& arguments) {
  if (!arguments.probe.empty()) return run_probe(arguments);
  std::vector<Record> records{checked("vault", [&] { return check_vault(arguments); }), checked("memory", check_memory),
                              checked("proxy", check_proxy), checked("presets", check_presets)};
  for (const auto& check : session::check_levels()) records.push_back(level_record(check));
  for (const auto& client : check_clients()) {
    records.push_back({{"subject", client.program}, {"verdict", client.verdict}, {"detail", client.how}});
  }
  print_table(records, arguments.json, "");
  const bool sound = std::all_of(records.begin(), records.end(), [](const auto& record) {
    return std::get<std::string>(record[1].second) != "problem";
  });
  return sound ? 0 : 1;
}

}  // namespace agentvault::cli
