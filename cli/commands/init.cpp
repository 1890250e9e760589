#include "base/secret_bytes.hpp"
#include "commands/commands.hpp"
#include "keys/vault_init.hpp"
#include "terminal.hpp"

namespace agentvault::cli {

int run_init(const Arguments& arguments) {
  harden_process();
  keys::NewVault wanted{.paths = arguments.paths_of_vault(),
                        .tpm = tpm::TransportName::parse(arguments.tpm.empty() ? "auto" : arguments.tpm)};
  if (arguments.pin || !arguments.pin_file.empty()) wanted.pin = obtain_new_pin(arguments.pin_file);
  keys::create_vault(wanted);
  note("made a vault at " + arguments.vault.string() + " (" + wanted.tpm.description() + ")");
  note("next: \"agentvault add openai\" stores a key, \"agentvault exec -- COMMAND\" uses it");
  return 0;
}

}  // namespace agentvault::cli
