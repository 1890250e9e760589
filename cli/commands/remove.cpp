#include "base/secret_bytes.hpp"
#include "commands/commands.hpp"
#include "open_vault.hpp"
#include "terminal.hpp"

namespace agentvault::cli {

int run_remove(const Arguments& arguments) {
  harden_process();
  open_vault_for_change(arguments).remove(arguments.name);
  withdraw_credential(arguments.paths_of_vault(), arguments.name);
  note("removed " + arguments.name + "; older copies of this vault open no more");
  return 0;
}

}  // namespace agentvault::cli
