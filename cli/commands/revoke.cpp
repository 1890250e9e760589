#include <algorithm>

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "open_vault.hpp"
#include "session/governance.hpp"
#include "session/registry.hpp"
#include "terminal.hpp"
#include "token/token.hpp"

namespace agentvault::cli {
namespace {

using session::ControlCommand;

/// Which sessions to tell, and what.
struct Target {
  std::vector<std::string> sessions;
  std::string id;
};

/// A token as such names its session; an id may be of any session.
Target target_of_token(const Arguments& a) {
  if (a.token.starts_with(token::kPrefix)) {
    const auto token = token::decode(a.token);
    if (!token) {
      throw Error(ErrorKind::usage, "not a token of agentvault", "tokens begin with agv_ and are passed on whole");
    }
    Target target{{hex(token->session)}, hex(token->id)};
    for (const auto& caveat : token->caveats) {
      // Of an attenuated token, what was attenuated last: the one it was made from stays good.
      if (const auto* delegation = std::get_if<token::Delegation>(&caveat)) target.id = hex(delegation->id);
    }
    return target;
  }
  const auto id = unhex(a.token);
  if (!id || (id->size() != token::kIdSize && id->size() != token::kDelegationIdSize)) {
    throw Error(ErrorKind::usage, "not the id of a token: \"" + printable(a.token) + "\"",
                "give the token, or an id that \"agentvault token inspect\" or the audit log shows");
  }
  return {session::live_sessions(a.paths_of_vault()), hex(*id)};
}

int revoke_token(const Arguments& a) {
  const auto paths = a.paths_of_vault();
  paths.check_directory();
  const Target target = target_of_token(a);
  const ControlCommand command{ControlCommand::Kind::revoke_token, target.id};
  auto result = session::withdraw(paths, target.sessions, command, session::Silent::leave);
  // An id is of one session: once that has answered, the silent ones are none of it. A delegation may be of any.
  const bool found = !result.told.empty() && target.id.size() == 2 * token::kIdSize;
  if (!found && !result.silent.empty()) {
    const auto silent = session::withdraw(paths, result.silent, command, session::Silent::kill);
    for (const auto& name : silent.killed)
      note("session " + name + " did not answer and was killed: it might hold that token");
    result.killed = silent.killed;
  }
  if (result.told.empty() && result.killed.empty()) {
    throw Error(
        ErrorKind::not_found, "no running session has such a token",
        "if its session has ended it is worthless already; \"agentvault revoke --session ID\" takes a session's id");
  }
  note("revoked " + target.id);
  return 0;
}

int revoke_session(const Arguments& a) {
  const auto paths = a.paths_of_vault();
  paths.check_directory();
  const auto id = unhex(a.session);
  if (!id || id->size() != token::kIdSize) {
    throw Error(ErrorKind::usage, "not the id of a session: \"" + printable(a.session) + "\"",
                "\"agentvault sessions\" lists them");
  }
  const auto result = session::withdraw(paths, {hex(*id)}, {ControlCommand::Kind::stop, ""}, session::Silent::kill);
  if (result.told.empty() && result.killed.empty()) {
    throw Error(ErrorKind::not_found, "no session " + hex(*id) + " is running", "\"agentvault sessions\" lists them");
  }
  report_stopped(result);
  return 0;
}

/// The part that only the TPM can do. The sessions are stopped by now, whatever happens here.
void move_the_tpm_on(const Arguments& a, const store::Intent& intent) {
  try {
    const auto vault = open_vault_for_change(a, {intent});
    report_barrier(vault);
  } catch (const Error& error) {
    const bool waits = error.kind() == ErrorKind::tpm || error.kind() == ErrorKind::pin;
    throw Error(
        waits ? ErrorKind::tpm : error.kind(),
        (intent.subject.empty() ? std::string("all") : "its") +
            " sessions are stopped, but older copies of the vault still open: " + error.what(),
        waits ? "the next command that opens the vault finishes it before it does anything else" : error.hint());
  }
}

/// In the database, or in the room that is reserved for when it takes nothing. What went wrong, else.
std::optional<Error> write_down(const keys::VaultPaths& paths, const store::Intent& intent) {
  try {
    store::Database::open(paths.database()).write_intent(intent);
    return std::nullopt;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::failed) return error;
    try {
      store::Database::reserved_beside(paths.database()).add(intent);
      return std::nullopt;
    } catch (const Error&) {
      return error;
    }
  }
}

/// Stopped first, whatever becomes of the rest; and once it is written down again: a session that began meanwhile
/// either is found then, or finds it.
void stop_and_move_on(const Arguments& a, const store::Intent& intent) {
  const auto paths = a.paths_of_vault();
  paths.check_directory();
  stop_sessions(paths, intent.subject);  // whatever holds up the database
  const auto not_written = write_down(paths, intent);
  stop_sessions(paths, intent.subject);
  if (not_written) {
    throw Error(not_written->kind(),
                (intent.subject.empty() ? std::string("all") : "its") +
                    " sessions are stopped, but nothing is revoked: " + not_written->what(),
                not_written->hint() + "; then run this again");
  }
  move_the_tpm_on(a, intent);
}

int revoke_all(const Arguments& a) {
  stop_and_move_on(a, {store::Intent::Kind::rotate, ""});
  note("every token is worthless");
  return 0;
}

/// A slip must not read as done. A broken database must not keep an agent alive, though.
bool is_known(const Arguments& a, const std::string& agent) {
  if (agent == session::kDefaultAgent) return true;
  if (!valid_name(agent)) return false;
  try {
    const auto snapshot = store::Database::open(a.paths_of_vault().database()).newest();
    return std::any_of(snapshot.policies.begin(), snapshot.policies.end(), [&](const auto& row) {
      return policy::parse_document(row.text, "policy").find(agent) != nullptr;
    });
  } catch (const Error&) {
    return true;
  }
}

int revoke_agent(const Arguments& a) {
  if (a.lift) {
    open_vault_for_change(a).readmit(a.revoked_agent);
    note("the agent " + a.revoked_agent + " may start sessions again");
    return 0;
  }
  if (!is_known(a, a.revoked_agent)) {
    throw Error(ErrorKind::not_found, "there is no agent \"" + printable(a.revoked_agent) + "\"",
                "\"agentvault policy show --all\" lists those that policies name");
  }
  stop_and_move_on(a, {store::Intent::Kind::revoke_agent, a.revoked_agent});
  note("the agent " + a.revoked_agent + " is revoked until \"agentvault revoke --agent " + a.revoked_agent +
       " --lift\"");
  return 0;
}

}  // namespace

int run_revoke(const Arguments& a) {
  harden_process();
  const int targets = !a.token.empty() + !a.session.empty() + !a.revoked_agent.empty() + a.all;
  if (targets != 1) {
    throw Error(ErrorKind::usage, "revoke takes exactly one of --token, --session, --agent and --all",
                "\"agentvault sessions\" lists what is running");
  }
  if (a.lift && a.revoked_agent.empty())
    throw Error(ErrorKind::usage, "only an agent's revocation can be lifted", "add --agent NAME");
  if (!a.token.empty()) return revoke_token(a);
  if (!a.session.empty()) return revoke_session(a);
  if (a.all) return revoke_all(a);
  return revoke_agent(a);
}

}  // namespace agentvault::cli
