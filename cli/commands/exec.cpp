#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "session/exec.hpp"
#include "session/governance.hpp"
#include "session/isolation.hpp"
#include "session/nested.hpp"
#include "session/throw_away_folder.hpp"
#include "taken_keys.hpp"
#include "terminal.hpp"

namespace agentvault::cli {
namespace {

constexpr int kExecItselfFailed = 125;

std::optional<std::chrono::seconds> duration(const std::string& text) {
  if (text.empty()) return std::nullopt;
  const auto parsed = parse_duration(text);
  if (!parsed)
    throw Error(ErrorKind::usage, "not a duration: \"" + printable(text) + "\"", "write 90s, 15m, 12h or 7d");
  return *parsed;
}

net::Authority reached(const std::string& text) {
  if (auto authority = policy::parse_reach(text)) return *authority;
  throw Error(ErrorKind::usage, "not a port for --reach: \"" + printable(text) + "\"",
              "write 5432, or db.internal:5432");
}

std::vector<std::string> command_of(const Arguments& a) {
  if (!a.child.empty()) return a.child;
  const char* shell = std::getenv("SHELL");
  return {shell != nullptr && *shell != '\0' ? shell : "/bin/sh"};
}

std::vector<std::string> given_environment() {
  std::vector<std::string> entries;
  for (char** entry = environ; *entry != nullptr; ++entry) entries.emplace_back(*entry);
  return entries;
}

std::vector<policy::Rule> read_plan(const std::string& file) {
  const auto contents = read_file(file, policy::kMaxPlan);
  if (!contents) throw Error(ErrorKind::not_found, "there is no file " + file, "is the path right?");
  return policy::parse_plan(as_text(*contents), std::filesystem::path(file).filename().string());
}

session::ExecRequest make_request(const Arguments& a) {
  session::ExecRequest request;
  request.open = {
      a.paths_of_vault(), a.tpm_override(), [file = a.pin_file] { return obtain_pin(file); }, a.with, a.agent, {}, {}};
  if (a.egress) request.egress = policy::Egress::parse(*a.egress);
  if (a.isolation) session::parse_isolation(*a.isolation);  // complain early
  request.isolation = a.isolation.value_or("");
  for (const auto& path : a.write) request.writes.emplace_back(path);
  for (const auto& path : a.share) request.shares.emplace_back(path);
  request.keeps = a.keep;
  for (const auto& text : a.reach) request.reaches.push_back(reached(text));
  request.ttl = duration(a.ttl);
  request.max_lifetime = duration(a.max_lifetime);
  request.publishes = a.publish;
  if (!a.plan.empty()) request.plan = read_plan(a.plan);
  request.quiet = a.quiet;
  request.verbose = a.verbose;
  request.child_umask = a.inherited_umask;
  request.command = command_of(a);
  request.environment = given_environment();
  return request;
}

/// Inside a session: what is there is handed on, in part.
int run_inside(const Arguments& a) {
  const bool of_outer = a.isolation || a.egress || !a.write.empty() || !a.share.empty() || !a.reach.empty() ||
                        !a.publish.empty() || !a.keep.empty() || !a.ttl.empty() || !a.plan.empty();
  if (of_outer) {
    throw Error(
        ErrorKind::usage, "isolation, egress and plan are those of the session that this runs in",
        "inside a session exec takes --with, --agent, --budget, --max-lifetime and -q; a sub-agent can declare a "
        "plan itself");
  }
  session::NestedRequest request;
  request.environment = given_environment();
  request.command = command_of(a);
  if (a.agent != session::kDefaultAgent) request.agent = a.agent;
  if (!request.agent.empty() && !valid_name(request.agent)) {
    throw Error(ErrorKind::usage, "not a name: \"" + printable(request.agent) + "\"", "a-z 0-9 . _ -");
  }
  request.with = a.with;
  request.budget = a.budget;
  request.lifetime = duration(a.max_lifetime);
  request.child_umask = a.inherited_umask;
  request.quiet = a.quiet;
  return session::run_nested(request);
}

/// Keys are taken before the environment is copied: no copy has them.
int run_without_vault(const Arguments& a) {
  if (!a.with.empty()) {
    throw Error(ErrorKind::usage, "--take needs no vault, and --with names credentials of one", "give one of the two");
  }
  auto taken = take_keys(a.take);
  const session::ThrowAwayFolder folder;
  auto request = make_request(a);
  request.taken = std::move(taken);
  request.open.paths = {folder.path()};
  return session::run_exec(std::move(request));
}

}  // namespace

int run_exec(const Arguments& arguments) {
  try {
    if (!arguments.take.empty()) return run_without_vault(arguments);
    if (session::is_inside_session(given_environment())) return run_inside(arguments);
    if (arguments.budget) {
      throw Error(ErrorKind::usage, "--budget is for an exec inside a session",
                  "for a session of its own write a budget into the policy");
    }
    return session::run_exec(make_request(arguments));
  } catch (const Error& error) {
    // 1 would look like the child's own status.
    const int code = report(error);
    return error.kind() == ErrorKind::failed ? kExecItselfFailed : code;
  } catch (const std::exception& error) {
    report(Error(ErrorKind::failed, error.what(), "run again with --log-level debug"));
    return kExecItselfFailed;
  }
}

}  // namespace agentvault::cli
