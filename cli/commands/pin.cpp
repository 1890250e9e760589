#include "commands/commands.hpp"
#include "open_vault.hpp"
#include "terminal.hpp"

namespace agentvault::cli {

int run_pin_change(const Arguments& arguments) {
  harden_process();
  arguments.paths_of_vault().check();
  const auto old = ask_pin_now(arguments);
  const SecretBytes fresh = obtain_new_pin(arguments.new_pin_file);
  auto vault = open_vault_for_change(arguments, old);
  vault.change_pin(fresh);
  note("the PIN is changed");
  report_barrier(vault);
  return 0;
}

}  // namespace agentvault::cli
