#include "commands/commands.hpp"
#include "open_vault.hpp"
#include "terminal.hpp"

namespace agentvault::cli {

int run_pin_change(const Arguments& arguments) {
  harden_process();
  auto vault = open_vault_for_change(arguments);
  vault.change_pin(obtain_new_pin(arguments.new_pin_file));
  note("the PIN is changed; older copies of this vault open no more");
  return 0;
}

}  // namespace agentvault::cli
