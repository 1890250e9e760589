#include "session/isolation.hpp"

#include <unistd.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "sandbox/landlock.hpp"

namespace agentvault::session {
namespace {

using sandbox::Cell;
using sandbox::CellRequest;
using sandbox::Level;

bool in_container() {
  return ::access("/.dockerenv", F_OK) == 0 || ::access("/run/.containerenv", F_OK) == 0;
}

/// What to do about it here.
std::string advice() {
  if (in_container()) {
    return "start the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
           "--security-opt systempaths=unconfined, or use --isolation off, which holds no hostile agent";
  }
  return "\"agentvault doctor\" tells what is missing; --isolation off goes without, and holds no hostile agent";
}

std::unique_ptr<Cell> make(CellRequest request, Level level) {
  request.level = level;
  return std::make_unique<Cell>(request);
}

std::string words(Level level, const Error& error) {
  return "isolation " + std::string(name_of(level)) + " cannot be set up here: " + error.what();
}

}  // namespace

Isolation isolate(CellRequest request, std::optional<Level> level) {
  if (level) {
    try {
      return {*level, make(std::move(request), *level), ""};
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::failed || *level == Level::off) throw;
      throw Error(ErrorKind::failed, words(*level, error), advice());
    }
  }
  std::string reason;
  try {
    return {Level::strict, make(request, Level::strict), ""};
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::failed) throw;
    reason = words(Level::strict, error);
  }
  try {
    return {Level::standard, make(request, Level::standard), reason};
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::failed) throw;
    throw Error(ErrorKind::failed, reason + "; nor " + words(Level::standard, error), advice());
  }
}

std::optional<Level> parse_isolation(const std::string& name) {
  if (name == "auto") return std::nullopt;
  const auto level = sandbox::level_named(name);
  if (!level) {
    throw Error(ErrorKind::usage, "not a level of isolation: \"" + printable(name) + "\"",
                "write strict, standard, off or auto");
  }
  return level;
}

std::vector<LevelCheck> check_levels() {
  CellRequest request;
  request.command = {"true"};
  std::error_code gone;
  request.files.working_directory = std::filesystem::current_path(gone);
  request.files.home = "/";
  std::vector<LevelCheck> checks;
  for (const auto level : {Level::strict, Level::standard}) {
    LevelCheck check{level, "", ""};
    try {
      const auto cell = make(request, level);
      if (level == Level::strict && !cell->take_doors().redirected) {
        check.limits = "no nftables: only ports 80 and 443 lead to the broker";
      }
      if (sandbox::landlock_abi() < sandbox::kAbiWithScopes) {
        check.limits += std::string(check.limits.empty() ? "" : "; ") + "Landlock is old: it scopes no signals";
      }
    } catch (const Error& error) {
      check.problem = error.what();
    }
    checks.push_back(std::move(check));
  }
  return checks;
}

}  // namespace agentvault::session
