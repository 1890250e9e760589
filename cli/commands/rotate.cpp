#include "base/error.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "open_vault.hpp"
#include "session/registry.hpp"
#include "terminal.hpp"

namespace agentvault::cli {

int run_rotate(const Arguments& arguments) {
  harden_process();
  if (!arguments.name.empty()) {
    throw Error(ErrorKind::usage, "rotate makes a new master key for the whole vault",
                "a new secret for one credential: \"agentvault add " + printable(arguments.name) + " --replace\"");
  }
  std::optional<tpm::PcrSelection> pcrs;
  if (!arguments.pcr.empty()) pcrs = tpm::PcrSelection::parse(arguments.pcr == "none" ? "" : arguments.pcr);
  {
    auto vault = open_vault_for_change(arguments);
    vault.rotate(pcrs);
    if (arguments.hard) vault.tpm().flush_sessions();
    note("made a new master key");
    report_barrier(vault);
  }
  // After it: a session that began before is found here, one that begins now has read the new key's vault.
  const auto paths = arguments.paths_of_vault();
  const session::ControlCommand command{session::ControlCommand::Kind::stop, session::kRotated};
  report_stopped(session::withdraw(paths, session::live_sessions(paths), command, session::Silent::kill));
  return 0;
}

}  // namespace agentvault::cli
