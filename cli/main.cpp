#include <signal.h>
#include <sys/stat.h>

#include <exception>

#include "arguments.hpp"
#include "base/installed_group.hpp"
#include "base/log.hpp"
#include "commands/commands.hpp"
#include "terminal.hpp"

namespace {

using namespace agentvault;
using namespace agentvault::cli;

struct Command {
  std::vector<std::string> name;
  int (*run)(const Arguments&);
};

const std::vector<Command> kCommands{
    {{"init"}, run_init},
    {{"add"}, run_add},
    {{"list"}, run_list},
    {{"show"}, run_show},
    {{"remove"}, run_remove},
    {{"status"}, run_status},
    {{"provider", "list"}, run_provider_list},
    {{"provider", "show"}, run_provider_show},
    {{"provider", "update"}, run_provider_update},
    {{"policy", "check"}, run_policy_check},
    {{"policy", "apply"}, run_policy_apply},
    {{"policy", "trust"}, run_policy_trust},
    {{"policy", "show"}, run_policy_show},
    {{"policy", "explain"}, run_policy_explain},
    {{"policy", "diff"}, run_policy_diff},
    {{"policy", "learn"}, run_policy_learn},
    {{"policy", "prove"}, run_policy_prove},
    {{"budget", "show"}, run_budget_show},
    {{"budget", "reset"}, run_budget_reset},
    {{"exec"}, run_exec},
    {{"approve"}, run_approve},
    {{"deny"}, run_deny},
    {{"doctor"}, run_doctor},
    {{"sessions"}, run_sessions},
    {{"revoke"}, run_revoke},
    {{"rotate"}, run_rotate},
    {{"pin", "change"}, run_pin_change},
    {{"recovery", "set"}, run_recovery_set},
    {{"backup"}, run_backup},
    {{"restore"}, run_restore},
    {{"destroy"}, run_destroy},
    {{"token", "inspect"}, run_token_inspect},
    {{"token", "attenuate"}, run_token_attenuate},
    {{"completion"}, run_completion},
};

int dispatch(int argc, char** argv) {
  auto arguments = parse_arguments(argc, argv);
  if (!arguments) return 0;
  // Whatever we make is for its owner only; the child of exec gets the old mask back.
  arguments->inherited_umask = ::umask(077);
  log::set_level(arguments->log_level);
  for (const auto& command : kCommands) {
    if (command.name == arguments->command) return command.run(*arguments);
  }
  throw Error(ErrorKind::usage, "unknown command");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    make_undumpable();
    open_missing_streams();
    ::signal(SIGXFSZ, SIG_IGN);  // a write beyond "ulimit -f" fails, as on a full disk
    InstalledGroup::begin();
    return dispatch(argc, argv);
  } catch (const Error& error) {
    return report(error);
  } catch (const std::exception& error) {
    return report(Error(ErrorKind::failed, error.what(), "run again with --log-level debug"));
  }
}
