#include "base/secret_bytes.hpp"
#include "commands/commands.hpp"
#include "keys/vault.hpp"
#include "terminal.hpp"

namespace agentvault::cli {

int run_remove(const Arguments& arguments) {
  harden_process();
  auto vault = keys::Vault::open(arguments.paths_of_vault(), keys::Access::write, arguments.tpm_override(),
                                 [&] { return obtain_pin(arguments.pin_file); });
  vault.remove(arguments.name);
  note("removed " + arguments.name + "; older copies of this vault open no more");
  return 0;
}

}  // namespace agentvault::cli
