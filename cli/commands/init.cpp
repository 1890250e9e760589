#include "base/secret_bytes.hpp"
#include "commands/commands.hpp"
#include "keys/vault_init.hpp"
#include "terminal.hpp"

namespace agentvault::cli {

keys::NewVault new_vault(const Arguments& arguments) {
  keys::NewVault wanted{.paths = arguments.paths_of_vault(),
                        .tpm = tpm::TransportName::parse(arguments.tpm.empty() ? "auto" : arguments.tpm)};
  if (arguments.pin || !arguments.pin_file.empty()) wanted.pin = obtain_first_pin(arguments.pin_file);
  wanted.pcrs = tpm::PcrSelection::parse(arguments.pcr);
  wanted.rollback_protection = !arguments.no_rollback_protection;
  wanted.owner_password = [file = arguments.owner_password_file] { return obtain_owner_password(file); };
  return wanted;
}

int run_init(const Arguments& arguments) {
  harden_process();
  keys::refuse_existing(arguments.vault);  // before anything is asked
  keys::NewVault wanted = new_vault(arguments);
  wanted.recovery_passphrase = offer_passphrase(arguments.new_passphrase_file);
  keys::create_vault(wanted);
  note("made a vault at " + arguments.vault.string() + " (" + wanted.tpm.description() + ")");
  if (!wanted.rollback_protection)
    note("warning: no rollback protection: older copies of this vault will open for ever");
  note("next: \"agentvault add openai\" stores a key, \"agentvault exec -- COMMAND\" uses it");
  return 0;
}

}  // namespace agentvault::cli
