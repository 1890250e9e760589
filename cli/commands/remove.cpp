#include "base/secret_bytes.hpp"
#include "commands/commands.hpp"
#include "open_vault.hpp"
#include "terminal.hpp"

namespace agentvault::cli {

int run_remove(const Arguments& arguments) {
  harden_process();
  {
    auto vault = open_vault_for_change(arguments);
    vault.remove(arguments.name);
    note("removed " + arguments.name);
    report_barrier(vault);
  }
  withdraw_credential(arguments.paths_of_vault(), arguments.name);
  return 0;
}

}  // namespace agentvault::cli
