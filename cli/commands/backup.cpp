#include "base/error.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "credential_check.hpp"
#include "keys/recovery.hpp"
#include "open_vault.hpp"
#include "provider/binding.hpp"
#include "terminal.hpp"

namespace agentvault::cli {
namespace {

/// Whoever knows the passphrase can write a backup by hand: what `add` would not take is not taken from one either.
void check_restored(const keys::NewCredential& credential) {
  try {
    const auto binding = provider::Binding::from_json(credential.binding);
    check_variables(binding.env);
    check_variables(binding.env_url);
    check_secret(credential.secret, binding, credential.name);
    if (valid_name(credential.name) && credential.secret.size() <= kMaxSecret) return;
  } catch (const Error&) {  // said below, with the name
  }
  throw Error(
      ErrorKind::integrity,
      "the backup holds a credential that \"agentvault add\" would refuse: \"" + printable(credential.name) + "\"",
      "use another backup; nothing was made");
}

}  // namespace

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
  // Everything is asked before anything is locked, and the old one first.
  const auto paths = arguments.paths_of_vault();
  paths.check();
  std::optional<SecretBytes> old;
  if (!store::Database::open(paths.database()).newest().stage.recovery_salt.empty()) {
    old = obtain_passphrase(arguments.passphrase_file);
  }
  const SecretBytes fresh = obtain_new_passphrase(arguments.new_passphrase_file);
  auto vault = open_vault_for_change(arguments);
  vault.set_recovery_passphrase([&] { return old ? old->clone() : SecretBytes(); }, fresh);
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
  wanted.credentials = [&](const keys::CredentialSink& sink) {
    backup.each([&](const keys::NewCredential& credential) {
      check_restored(credential);
      sink(credential);
    });
  };
  wanted.revoked_agents = backup.revoked_agents();
  wanted.policies = backup.policies();
  keys::create_vault(wanted);
  note("made a vault at " + arguments.vault.string() + " (" + wanted.tpm.description() + ") with the " +
       std::to_string(backup.size()) + " credentials of " +
       format_time(std::chrono::system_clock::from_time_t(backup.made())));
  return 0;
}

}  // namespace agentvault::cli
