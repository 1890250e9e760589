#include "base/error.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "keys/recovery.hpp"
#include "open_vault.hpp"
#include "terminal.hpp"

namespace agentvault::cli {

int run_backup(const Arguments& arguments) {
  harden_process();
  auto vault = open_vault_for_change(arguments);
  vault.backup(arguments.file);
  note("wrote " + std::to_string(vault.snapshot().credentials.size()) + " credentials to " + arguments.file +
       "; its recovery passphrase opens it on any machine");
  return 0;
}

int run_recovery_set(const Arguments& arguments) {
  harden_process();
  auto vault = open_vault_for_change(arguments);
  vault.set_recovery_passphrase([&] { return obtain_passphrase(arguments.passphrase_file); },
                                obtain_new_passphrase(arguments.new_passphrase_file));
  note("the recovery passphrase is set: backups from now on open with it; \"agentvault backup FILE\" writes one");
  return 0;
}

int run_restore(const Arguments& arguments) {
  harden_process();
  keys::refuse_existing(arguments.vault);  // before anything is asked
  std::optional<SecretBytes> passphrase;
  const auto backup = keys::Backup::open(arguments.file, [&] {
    passphrase = obtain_passphrase(arguments.passphrase_file);
    return passphrase->clone();
  });
  keys::NewVault wanted = new_vault(arguments);
  wanted.recovery_passphrase = std::move(passphrase);  // it stays what it was
  wanted.credentials = [&](const keys::CredentialSink& sink) { backup.each(sink); };
  wanted.revoked_agents = backup.revoked_agents();
  keys::create_vault(wanted);
  note("made a vault at " + arguments.vault.string() + " (" + wanted.tpm.description() + ") with the " +
       std::to_string(backup.size()) + " credentials of " +
       format_time(std::chrono::system_clock::from_time_t(backup.made())));
  return 0;
}

}  // namespace agentvault::cli
