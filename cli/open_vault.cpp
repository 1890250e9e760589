#include "open_vault.hpp"

#include <memory>

#include "base/text.hpp"
#include "session/registry.hpp"
#include "terminal.hpp"

namespace agentvault::cli {

keys::Vault open_vault_for_change(const Arguments& arguments, const std::vector<store::Intent>& intents) {
  return open_vault_for_change(
      arguments, [&] { return obtain_pin(arguments.pin_file); }, intents);
}

keys::Vault open_vault_for_change(const Arguments& arguments, const keys::PinSource& pin,
                                  const std::vector<store::Intent>& intents) {
  return keys::Vault::open(arguments.paths_of_vault(), keys::Access::write, arguments.tpm_override(), pin, intents);
}

keys::PinSource ask_pin_now(const Arguments& arguments) {
  const auto asked = std::make_shared<std::optional<SecretBytes>>();
  if (keys::needs_pin(arguments.paths_of_vault())) *asked = obtain_pin(arguments.pin_file);
  return [asked, file = arguments.pin_file] { return *asked ? (*asked)->clone() : obtain_pin(file); };
}

void report_barrier(const keys::Vault& vault) {
  if (vault.protects_against_rollback()) {
    note("older copies of this vault open no more");
  } else {
    note("warning: older copies of this vault still open: it was made without rollback protection");
  }
}

void withdraw_credential(const keys::VaultPaths& paths, const std::string& name) {
  using session::ControlCommand;
  const auto result = session::withdraw(paths, session::live_sessions(paths), {ControlCommand::Kind::withdraw, name},
                                        session::Silent::leave);
  for (const auto& silent : result.silent) {
    note("warning: session " + silent + " does not answer; if it holds " + name + ", \"agentvault revoke --session " +
         silent + "\" ends that");
  }
}

void report_stopped(const session::Withdrawn& result) {
  for (const auto& name : result.told) note("session " + name + " is stopped: its tokens are worthless");
  for (const auto& name : result.killed) note("session " + name + " did not answer and was killed");
}

void stop_sessions(const keys::VaultPaths& paths, const std::string& agent) {
  using Kind = session::ControlCommand::Kind;
  const session::ControlCommand command{agent.empty() ? Kind::stop : Kind::stop_agent, agent};
  report_stopped(session::withdraw(paths, session::live_sessions(paths), command, session::Silent::kill));
}

}  // namespace agentvault::cli
