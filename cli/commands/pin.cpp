#include "commands/commands.hpp"
#include "open_vault.hpp"
#include "terminal.hpp"

namespace agentvault::cli {

int run_pin_change(const Arguments& arguments) {
  harden_process();
  // Everything is asked before anything is locked: others must not wait for somebody who types.
  const auto paths = arguments.paths_of_vault();
  paths.check();
  std::optional<SecretBytes> old;
  if (keys::needs_pin(paths)) old = obtain_pin(arguments.pin_file);
  const SecretBytes fresh = obtain_new_pin(arguments.new_pin_file);
  auto vault = keys::Vault::open(paths, keys::Access::write, arguments.tpm_override(),
                                 [&] { return old ? old->clone() : obtain_pin(arguments.pin_file); });
  vault.change_pin(fresh);
  note("the PIN is changed");
  report_barrier(vault);
  return 0;
}

}  // namespace agentvault::cli
