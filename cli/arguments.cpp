#include "arguments.hpp"

// The one source that pays for CLI11.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "base/error.hpp"
#include "base/installed_group.hpp"
#include "base/text.hpp"

namespace agentvault::cli {
namespace {

namespace fs = std::filesystem;

fs::path default_vault() {
  if (InstalledGroup::in_use()) return InstalledGroup::hold_vault(AGENTVAULT_STATE_FOLDER);
  if (const char* home = std::getenv("AGENTVAULT_HOME"); home != nullptr && *home != '\0') return home;
  if (const char* data = std::getenv("XDG_DATA_HOME"); data != nullptr && *data == '/')
    return fs::path(data) / "agentvault";
  const char* home = std::getenv("HOME");
  return fs::path(home != nullptr ? home : "/") / ".local/share/agentvault";
}

/// An unset variable of a script must not read as "none".
std::string not_empty(const std::string& value) {
  return value.empty() ? "must not be empty" : "";
}

/// The parser would read "-1" as a very large number.
std::string whole_number(const std::string& value) {
  const auto number = parse_unsigned(value);
  return number && *number <= (std::uint64_t{1} << 53) ? "" : "must be a whole number";
}

void define_pin_file(CLI::App* command, Arguments& a) {
  command->add_option("--pin-file", a.pin_file, "read the PIN from this file (mode 0600)");
}

void define_new_vault(CLI::App* command, Arguments& a) {
  command->add_flag("--pin", a.pin, "ask for a PIN that the vault then needs");
  define_pin_file(command, a);
  command->add_option("--pcr", a.pcr, "bind the vault to the boot state in these registers, for example sha256:7")
      ->check(not_empty);
  command->add_option("--owner-password-file", a.owner_password_file,
                      "read the TPM owner's password from this file (mode 0600)");
  command->add_flag("--no-rollback-protection", a.no_rollback_protection,
                    "do without a TPM counter: old copies of the vault will open for ever");
}

void define_vault_commands(CLI::App& app, Arguments& a) {
  auto* init = app.add_subcommand("init", "make a vault");
  define_new_vault(init, a);
  init->add_option("--new-passphrase-file", a.new_passphrase_file,
                   "set the recovery passphrase in this file (mode 0600)");

  auto* add = app.add_subcommand("add", "store a credential: from a hidden prompt, or from standard input");
  add->add_option("name", a.name, "name of the credential; a provider's name selects that provider")->required();
  add->add_option("--provider", a.provider, "preset for the service");
  add->add_option("--url", a.url, "exact origin and base path: https://host[:port][/base]");
  add->add_option("--inject", a.inject, "bearer | header:NAME[:TEMPLATE] | query:FIELD | basic:user | basic:pass");
  add->add_option("--env", a.env, "variable that gets a token")->type_name("VAR");
  add->add_option("--env-url", a.env_url, "variable that gets the broker's URL")->type_name("VAR");
  add->add_option("--ca-file", a.ca_file, "PEM file with the only certificates to trust for this service");
  add->add_flag("--stdin", a.from_stdin, "read the secret from standard input");
  add->add_flag("--replace", a.replace, "store a new secret for an existing credential");
  define_pin_file(add, a);

  app.add_subcommand("list", "show the stored credentials");
  auto* show = app.add_subcommand("show", "show one credential: where its secret may go, and its rules");
  show->add_option("name", a.name, "name of the credential")->required();
  auto* remove = app.add_subcommand("remove", "delete a credential for good: older copies of the vault open no more");
  remove->add_option("name", a.name, "name of the credential")->required();
  define_pin_file(remove, a);
  app.add_subcommand("status", "show the vault and its TPM");
}

void define_provider_commands(CLI::App& app, Arguments& a) {
  auto* provider = app.add_subcommand("provider", "presets: what is known about services");
  provider->require_subcommand(1);
  provider->add_subcommand("list", "show the services that are known");
  auto* show = provider->add_subcommand("show", "show one preset");
  show->add_option("name", a.name, "name of the provider")->required();
  auto* update = provider->add_subcommand("update", "give a stored credential the rules of its preset as it is now");
  update->add_option("name", a.name, "name of the credential")->required();
  define_pin_file(update, a);
}

void define_revocation_commands(CLI::App& app, Arguments& a) {
  auto* revoke = app.add_subcommand("revoke", "take authority away at once: from a token, a session, an agent, or all");
  revoke->add_option("--token", a.token, "this token, or the id of a token or delegation");
  revoke->add_option("--session", a.session, "every token of this session");
  revoke->add_option("--agent", a.revoked_agent, "every session of this agent, and no new ones");
  revoke->add_flag("--all", a.all, "every session; then rotate");
  revoke->add_flag("--lift", a.lift, "with --agent: let it start sessions again");
  define_pin_file(revoke, a);

  auto* rotate = app.add_subcommand("rotate", "make a new master key: older copies of the vault open no more");
  rotate->add_option("name", a.name)->group("");  // a common slip, answered with the right command
  rotate->add_flag("--hard", a.hard, "also flush every session of the TPM");
  rotate->add_option("--pcr", a.pcr, "bind the vault to these registers as they are now, or to \"none\"")
      ->check(not_empty);
  define_pin_file(rotate, a);

  auto* pin = app.add_subcommand("pin", "the vault's PIN");
  pin->require_subcommand(1);
  auto* change = pin->add_subcommand("change", "set another PIN, or a first one");
  define_pin_file(change, a);
  change->add_option("--new-pin-file", a.new_pin_file, "read the new PIN from this file (mode 0600)");
}

void define_recovery_commands(CLI::App& app, Arguments& a) {
  const std::string from_file = "read the recovery passphrase from this file (mode 0600)";
  auto* recovery = app.add_subcommand("recovery", "the passphrase that opens backups");
  recovery->require_subcommand(1);
  auto* set = recovery->add_subcommand("set", "set the recovery passphrase, or change it");
  set->add_option("--passphrase-file", a.passphrase_file, "read the old one from this file (mode 0600)");
  set->add_option("--new-passphrase-file", a.new_passphrase_file, "read the new one from this file (mode 0600)");
  define_pin_file(set, a);

  auto* backup = app.add_subcommand("backup", "write every credential to a file that the recovery passphrase opens");
  backup->add_option("file", a.file, "where to")->required();
  define_pin_file(backup, a);

  auto* restore = app.add_subcommand("restore", "make a new vault from a backup, on any machine and TPM");
  restore->add_option("file", a.file, "the backup")->required();
  restore->add_option("--passphrase-file", a.passphrase_file, from_file);
  define_new_vault(restore, a);

  auto* destroy = app.add_subcommand("destroy", "delete the vault for good, also what its TPM keeps of it");
  destroy->add_flag("--yes", a.yes, "do it");
  destroy->add_option("--owner-password-file", a.owner_password_file,
                      "read the TPM owner's password from this file (mode 0600)");
  define_pin_file(destroy, a);
}

void define_session_commands(CLI::App& app, Arguments& a) {
  auto* exec = app.add_subcommand("exec", "run a command with tokens in place of keys");
  exec->add_option("--agent", a.agent, "profile of the agent, as policies name it (default: \"default\")");
  exec->add_option("--with", a.with, "only these credentials")->delimiter(',')->type_name("NAME,...");
  exec->add_option("--ttl", a.ttl, "how long a token lives after its process is gone (default 15m)");
  exec->add_option("--max-lifetime", a.max_lifetime, "hard end of all tokens (default 12h)");
  exec->add_option("--isolation", a.isolation,
                   "strict, standard, off, or auto (default): the strongest that works here");
  exec->add_option("--write", a.write, "PATH,...: what the agent may change besides the working directory")
      ->delimiter(',');
  exec->add_option("--share", a.share, "PATH,...: hidden files, folders or sockets that the agent may see")
      ->delimiter(',');
  exec->add_option("--keep", a.keep, "VAR,...: variables that look like keys, and that the agent gets all the same")
      ->delimiter(',')
      ->type_name("VAR,...");
  exec->add_option("--publish", a.publish, "PORT,...: servers of the agent that this machine may reach")
      ->delimiter(',');
  exec->add_option("--reach", a.reach, "[HOST:]PORT,...: services of this machine or network that the agent may reach")
      ->delimiter(',');
  exec->add_option("--egress", a.egress, "hosts reachable without a credential: open (default), brokered, or HOST,...")
      ->type_name("HOSTS");
  exec->add_option("--take", a.take, "no vault: take these keys out of exec's own environment")
      ->delimiter(',')
      ->type_name("VAR,...");
  exec->add_option("--plan", a.plan, "hold the session to the steps in this file")->type_name("FILE")->check(not_empty);
  exec->add_option("--budget", a.budget, "inside a session: how many requests the command may make")
      ->type_name("N")
      ->check(whole_number);
  exec->add_flag("-q,--quiet", a.quiet, "no session line");
  exec->add_flag("-v,--verbose", a.verbose,
                 "say also what the agent may write, and what of the project is hidden or kept")
      ->excludes("--quiet");
  define_pin_file(exec, a);

  app.add_subcommand("sessions", "show the running sessions");

  auto* token = app.add_subcommand("token", "look at a token, or narrow it");
  token->require_subcommand(1);
  auto* inspect = token->add_subcommand("inspect", "show what a token says");
  inspect->add_option("token", a.token, "the token; without it, AGENTVAULT_TOKEN");
  auto* attenuate = token->add_subcommand("attenuate", "print a narrower token; needs no vault");
  attenuate->add_option("token", a.token, "the token; without it, AGENTVAULT_TOKEN");
  attenuate->add_option("--credential", a.credential, "only for this credential");
  attenuate->add_option("--method", a.methods, "only these methods")->delimiter(',')->type_name("METHOD,...");
  attenuate->add_option("--path", a.paths, "only paths of this pattern (repeatable)")->type_name("PATTERN");
  attenuate->add_option("--budget", a.budget, "only so many requests")->type_name("N")->check(whole_number);
  attenuate->add_option("--depth", a.depth, "to be handed on only so often")->type_name("N")->check(whole_number);
  attenuate->add_option("--lifetime", a.lifetime, "only for this long, for example 10m");
  attenuate->add_option("--agent-name", a.agent_name, "name of who gets it, for the audit log");

  auto* doctor = app.add_subcommand("doctor", "say what works on this machine, and what cannot");
  doctor->add_option("--probe", a.probe, "send one harmless request: does this credential's key arrive?")
      ->type_name("NAME")
      ->check(not_empty);
  define_pin_file(doctor, a);

  auto* completion = app.add_subcommand("completion", "print a completion script");
  completion->add_option("shell", a.shell, "bash, zsh or fish")->required();
}

void define_policy_commands(CLI::App& app, Arguments& a) {
  const std::string for_agent = "the agent (default: \"default\")";
  auto* policy = app.add_subcommand("policy", "what agents may do");
  policy->require_subcommand(1);

  auto* check = policy->add_subcommand("check", "test a policy file");
  check->add_option("file", a.file, "the file (default: the nearest agentvault.toml)");

  auto* apply = policy->add_subcommand("apply", "make a file the vault's own policy, for every folder");
  apply->add_option("file", a.file, "the file");
  apply->add_flag("--remove", a.remove, "take the applied policy out again");
  apply->add_flag("--readmit", a.readmit, "lift the revocation of the agents that it names")->excludes("--remove");
  define_pin_file(apply, a);

  auto* trust = policy->add_subcommand("trust", "let a project's agentvault.toml count, as it is now");
  trust->add_option("file", a.file, "the file (default: the nearest agentvault.toml)");
  trust->add_option("--agent", a.agent_name, "only for this agent (default: all that the file names)")
      ->check(not_empty);
  trust->add_flag("--remove", a.remove, "let it count no longer");
  trust->add_flag("--readmit", a.readmit, "lift the revocation of the agents that it is trusted for")
      ->excludes("--remove");
  define_pin_file(trust, a);

  auto* show = policy->add_subcommand("show", "show what counts in this folder");
  show->add_option("--agent", a.agent, for_agent);
  show->add_flag("--all", a.all, "list every policy that the vault holds");

  auto* learn =
      policy->add_subcommand("learn", "propose the narrowest policy that would have allowed what a session did");
  learn->add_option("--session", a.session, "whose log (default: the newest)")->type_name("ID")->check(not_empty);
  learn->add_option("--agent", a.agent, "for whom it is written (default: \"default\")");
  learn->add_flag("--denied", a.all, "also what policy and egress denied");

  auto* diff = policy->add_subcommand("diff", "list what a new file permits that an old one does not");
  diff->add_option("old", a.old_file, "the old file")->required();
  diff->add_option("new", a.file, "the new file")->required();

  auto* prove = policy->add_subcommand("prove", "decide whether a file can ever permit something");
  prove->add_option("file", a.file, "the file")->required();
  prove->add_option("claim", a.claim, "\"never [unasked] METHOD CREDENTIAL PATH...\"");
  prove->add_option("--within", a.boundary_file, "decide instead whether it permits anything that this file does not")
      ->type_name("BOUNDARY")
      ->check(not_empty);

  auto* explain = policy->add_subcommand("explain", "say what would become of a request, and why");
  explain->add_option("method", a.method, "its method")->required();
  explain->add_option("url", a.url, "its URL")->required();
  explain->add_option("--agent", a.agent, for_agent);
  explain->add_option("--credential", a.credential, "the credential that goes with it, where several could");
  explain->add_option("--header", a.headers, "a header: \"Name: value\" (repeatable)")->type_name("HEADER");
  explain->add_option("--body-file", a.body_file, "its body");
  explain->add_option("--content-type", a.content_type, "of the body (default: application/json)");
}

void define_budget_commands(CLI::App& app, Arguments& a) {
  auto* budget = app.add_subcommand("budget", "what agents have used up");
  budget->require_subcommand(1);
  auto* show = budget->add_subcommand("show", "show what was used on the last day");
  show->add_option("--agent", a.agent_name, "only of this agent")->check(not_empty);
  auto* reset = budget->add_subcommand("reset", "let an agent's budget begin anew");
  reset->add_option("--agent", a.agent_name, "whose")->required()->check(not_empty);
}

void define_approval_commands(CLI::App& app, Arguments& a) {
  auto* approve = app.add_subcommand("approve", "show what waits for approval, or approve it");
  approve->add_option("id", a.question, "what is approved; without it, all that waits is shown");
  approve->add_flag("--body", a.body, "show the whole body of what waits");
  approve->add_flag("--session", a.whole_session, "also requests like it, as long as the session lives");
  approve->add_option("--for", a.duration, "also requests like it, for this long")->type_name("D")->check(not_empty);
  auto* deny = app.add_subcommand("deny", "refuse what waits for approval");
  deny->add_option("id", a.question, "what is refused")->required();
}

void define(CLI::App& app, Arguments& a) {
  a.vault = default_vault();
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("agentvault ") + AGENTVAULT_VERSION);
  app.add_option("--vault", a.vault, "directory of the vault");
  app.add_option("--tpm", a.tpm, "auto | device:PATH | swtpm:path=SOCKET | tabrmd | embedded");
  app.add_flag("--json", a.json, "results as JSON");
  app.add_option("--log-level", a.log_level, "error, warning, info or debug");
  // "agentvault exec --json" as well as "agentvault --json exec".
  app.fallthrough();
  define_vault_commands(app, a);
  define_provider_commands(app, a);
  define_policy_commands(app, a);
  define_budget_commands(app, a);
  define_approval_commands(app, a);
  define_revocation_commands(app, a);
  define_recovery_commands(app, a);
  define_session_commands(app, a);
}

/// Takes the child's command off the end of exec's words: what stands behind "--", or begins with the first word that
/// is neither an option nor an option's value. Its own options are none of ours.
std::vector<std::string> take_child_command(const CLI::App& app, std::vector<std::string>& words) {
  const auto* exec = app.get_subcommand("exec");
  bool in_exec = false;
  for (auto at = words.begin(); at != words.end(); ++at) {
    const bool dashes = *at == "--";
    if (dashes || (in_exec && !at->starts_with("-"))) {
      if (!in_exec)
        throw Error(ErrorKind::usage, "only exec takes a command behind --",
                    "\"agentvault --help\" shows the commands");
      std::vector<std::string> child(dashes ? at + 1 : at, words.end());
      words.erase(at, words.end());
      return child;
    }
    if (at->starts_with("-")) {
      const std::string name = at->substr(0, at->find('='));
      const auto* option = exec->get_option_no_throw(name);
      if (option == nullptr) option = app.get_option_no_throw(name);
      const bool has_value = option != nullptr && option->get_items_expected_max() > 0 && name == *at;
      if (has_value && at + 1 != words.end()) ++at;
    } else {
      in_exec = *at == "exec";
      if (!in_exec && std::find(words.begin(), words.end(), "--") == words.end()) return {};
    }
  }
  return {};
}

/// A system-wide installation keeps every user's vault in one place, and runs nothing that a user names with its
/// rights.
void check_installed(const CLI::App& app, const Arguments& a) {
  if (app.get_option("--vault")->count() > 0) {
    throw Error(ErrorKind::usage, "this installation keeps vaults in " AGENTVAULT_STATE_FOLDER, "leave --vault out");
  }
  if (a.tpm.starts_with("cmd:")) {
    throw Error(ErrorKind::usage, "this installation reaches no TPM through a command",
                "use device:, swtpm:, tabrmd or embedded");
  }
}

CommandShape shape_of(const CLI::App& app) {
  CommandShape shape{app.get_name(), app.get_description(), {}, {}};
  for (const auto* option : app.get_options()) {
    for (const auto& name : option->get_lnames()) shape.options.push_back("--" + name);
  }
  for (const auto* command : app.get_subcommands([](const CLI::App*) { return true; }))
    shape.commands.push_back(shape_of(*command));
  return shape;
}

}  // namespace

std::optional<tpm::TransportName> Arguments::tpm_override() const {
  if (tpm.empty()) return std::nullopt;
  return tpm::TransportName::parse(tpm);
}

std::optional<Arguments> parse_arguments(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  Arguments arguments;
  CLI::App app("Keeps API keys away from agents: keys stay sealed to the TPM, agents hold short-lived tokens.",
               "agentvault");
  define(app, arguments);
  arguments.child = take_child_command(app, words);
  std::reverse(words.begin(), words.end());  // as CLI11 takes a vector
  try {
    app.parse(words);
  } catch (const CLI::Success& asked) {
    app.exit(asked);  // help or version, on stdout
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    throw Error(ErrorKind::usage, error.what(),
                "\"agentvault --help\" shows the commands, \"agentvault COMMAND --help\" one of them");
  }
  for (const auto* level = &app; !level->get_subcommands().empty();) {
    level = level->get_subcommands().front();
    arguments.command.push_back(level->get_name());
  }
  if (InstalledGroup::in_use()) {
    check_installed(app, arguments);
    return arguments;
  }
  std::error_code unresolvable;
  arguments.vault_as_named = fs::absolute(arguments.vault);
  arguments.vault = arguments.vault_as_named.lexically_normal();
  // SQLite follows no symbolic link on the way to the database: resolve them here, once.
  if (auto resolved = fs::weakly_canonical(arguments.vault, unresolvable); !unresolvable) arguments.vault = resolved;
  if (arguments.vault.filename().empty()) arguments.vault = arguments.vault.parent_path();
  return arguments;
}

CommandShape command_shape() {
  Arguments unused;
  CLI::App app("", "agentvault");
  define(app, unused);
  CommandShape shape = shape_of(app);
  shape.name.clear();
  return shape;
}

}  // namespace agentvault::cli
