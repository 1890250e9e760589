#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "base/error.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "session/exec.hpp"
#include "taken_keys.hpp"
#include "terminal.hpp"

namespace agentvault::cli {
namespace {

constexpr int kExecItselfFailed = 125;

std::chrono::seconds duration(const std::string& text, std::chrono::seconds fallback) {
  if (text.empty()) return fallback;
  const auto parsed = parse_duration(text);
  if (!parsed)
    throw Error(ErrorKind::usage, "not a duration: \"" + printable(text) + "\"", "write 90s, 15m, 12h or 7d");
  return *parsed;
}

void check(const Arguments& a) {
  if (a.isolation != "off") {
    throw Error(ErrorKind::usage, "isolation \"" + printable(a.isolation) + "\" is not in this version",
                "use --isolation off");
  }
  if (a.agent != "default") {
    throw Error(ErrorKind::not_found, "there is no agent \"" + printable(a.agent) + "\"",
                "only \"default\" exists in this version");
  }
}

session::ExecRequest make_request(const Arguments& a) {
  check(a);
  session::ExecRequest request;
  request.open = {a.paths_of_vault(), a.tpm_override(), [file = a.pin_file] { return obtain_pin(file); }, a.with,
                  a.agent};
  request.egress = broker::Egress::parse(a.egress);
  request.ttl = duration(a.ttl, request.ttl);
  request.max_lifetime = duration(a.max_lifetime, request.max_lifetime);
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
