#include "base/error.hpp"
#include "commands/commands.hpp"
#include "keys/vault_destroy.hpp"
#include "open_vault.hpp"
#include "terminal.hpp"

namespace agentvault::cli {

namespace {

keys::Vault open(const Arguments& arguments) {
  try {
    return open_vault_for_change(arguments);
  } catch (const Error& error) {
    throw Error(
        error.kind(), error.what(),
        error.hint() + "; one that is not to open any more can be deleted by hand (\"man agentvault-destroy\")");
  }
}

}  // namespace

int run_destroy(const Arguments& arguments) {
  harden_process();
  const auto paths = arguments.paths_of_vault();
  paths.check();
  if (!arguments.yes) {
    const auto count = store::Database::open(paths.database()).newest().credentials.size();
    throw Error(ErrorKind::usage,
                "this would delete the vault at " + paths.shown().string() + " with its " + std::to_string(count) +
                    " credentials, audit logs and budgets, for good",
                "\"agentvault backup FILE\" keeps the credentials; then run it with --yes");
  }
  auto vault = open(arguments);
  const bool software =
      tpm::TransportName::parse_stored(vault.snapshot().vault.tpm).kind == tpm::TransportKind::embedded;
  stop_sessions(paths);
  const bool whole = keys::destroy_vault(
      std::move(vault), [file = arguments.owner_password_file] { return obtain_owner_password(file); });
  note(software ? "the vault is destroyed; its TPM is software: a copy of the whole folder would still open"
                : "the vault is destroyed: nothing of it is left in the TPM, and no copy of it opens");
  if (!whole) note("its folder holds files of others and stays: " + paths.shown().string());
  return 0;
}

}  // namespace agentvault::cli
