#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "base/error.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "session/exec.hpp"
#include "session/isolation.hpp"
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

session::ExecRequest make_request(const Arguments& a) {
  session::ExecRequest request;
  request.open = {a.paths_of_vault(), a.tpm_override(), [file = a.pin_file] { return obtain_pin(file); }, a.with, a.agent,
                  {}, {}};
  if (a.egress) request.egress = policy::Egress::parse(*a.egress);
  if (a.isolation) session::parse_isolation(*a.isolation);  // complain early
  request.isolation = a.isolation.value_or("");
  for (const auto& path : a.write) request.writes.emplace_back(path);
  for (const auto& path : a.share) request.shares.emplace_back(path);
  for (const auto& text : a.reach) request.reaches.push_back(reached(text));
  request.ttl = duration(a.ttl);
  request.max_lifetime = duration(a.max_lifetime);
  request.publishes = a.publish;
  request.quiet = a.quiet;
  request.child_umask = a.inherited_umask;
  request.command = a.child;
  if (request.command.empty()) {
    const char* shell = std::getenv("SHELL");
    request.command.emplace_back(shell != nullptr && *shell != '\0' ? shell : "/bin/sh");
  }
  for (char** entry = environ; *entry != nullptr; ++entry) request.environment.emplace_back(*entry);
  return request;
}

/// Keys are taken before the environment is copied: no copy has them.
int run_without_vault(const Arguments& a) {
  if (!a.with.empty()) {
    throw Error(ErrorKind::usage, "--take needs no vault, and --with names credentials of one", "give one of the two");
  }
  auto taken = take_keys(a.take);
  const ThrowAwayFolder folder;
  auto request = make_request(a);
  request.taken = std::move(taken);
  request.open.paths = folder.paths();
  return session::run_exec(std::move(request));
}

}  // namespace

int run_exec(const Arguments& arguments) {
  try {
    if (!arguments.take.empty()) return run_without_vault(arguments);
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
