#include "client_check.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "base/file.hpp"
#include "base/text.hpp"

namespace agentvault::cli {
namespace {

constexpr int kPatienceMilliseconds = 5000;
constexpr const char* kWorks = "works";
constexpr const char* kPartly = "partly";
constexpr const char* kCannot = "cannot";

/// What is known of each client without asking it.
const std::vector<ClientCheck> kKnown{
    {"curl", kWorks, "as proxy"},
    {"wget", kWorks, "as proxy, with WGETRC"},
    {"git", kWorks, "as proxy, for credentials of git hosts with their token; ssh remotes of those go over https"},
    {"gh", kWorks, "as proxy"},
    {"python3", kWorks, "base URL or proxy; aiohttp only with trust_env=True, urllib3 alone not"},
    {"pip", kWorks, "as proxy"},
    {"uv", kWorks, "as proxy"},
    {"npm", kWorks, "as proxy"},
    {"cargo", kWorks, "as proxy"},
    {"go", kWorks, "as proxy; what it builds on Linux too"},
    {"deno", kWorks, "base URL or proxy"},
    {"bun", kWorks, "base URL or proxy"},
    {"ruby", kWorks, "base URL or proxy"},
    {"perl", kWorks, "LWP as proxy; other modules by base URL"},
    {"claude", kWorks, "base URL"},
    {"java", kPartly,
     "by JAVA_TOOL_OPTIONS; not where a program sets its own proxy, its own trust store, or pins certificates"},
    {"gradle", kPartly, "its JVM has JAVA_TOOL_OPTIONS; a daemon that runs already does not"},
    {"mvn", kPartly, "by JAVA_TOOL_OPTIONS; not where settings.xml names a proxy"},
    {"http", kWorks, "as proxy"},
    {"php", kPartly, "as proxy; its certificates only through php.ini (curl.cainfo, openssl.cafile)"},
    {"aria2c", kPartly, "as proxy; its certificates only through --ca-certificate"},
    {"codex", kPartly, "as proxy; OPENAI_BASE_URL is ignored"},
    {"aws", kCannot, "requests are signed with the key itself (SigV4), which this version cannot do again"},
    {"s3cmd", kCannot, "requests are signed with the key itself (SigV4), which this version cannot do again"},
    {"rclone", kCannot, "for S3: requests are signed with the key itself (SigV4)"},
    {"firefox", kCannot, "has roots of its own and reads no certificate from the environment"},
    {"chromium", kCannot, "has roots of its own and reads no certificate from the environment"},
    {"google-chrome", kCannot, "has roots of its own and reads no certificate from the environment"},
    {"docker", kCannot, "the daemon makes the connections, outside of the session"},
    {"podman", kPartly, "containers do not share the session's loopback unless run with --network=host"},
};

std::filesystem::path in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  for (auto folder : split(path != nullptr ? path : "", ':')) {
    const auto candidate = std::filesystem::path(folder) / program;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return {};
}

/// The first line that `program --version` prints; "" when it does not within a few seconds.
std::string version_of(const std::filesystem::path& program) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return {};
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return {};
  if (pid == 0) {
    ::dup2(writing.get(), STDOUT_FILENO);
    ::execl(program.c_str(), program.c_str(), "--version", nullptr);
    ::_exit(127);
  }
  writing.reset();
  std::string line;
  pollfd wait{reading.get(), POLLIN, 0};
  while (line.find('\n') == std::string::npos && line.size() < 256 && ::poll(&wait, 1, kPatienceMilliseconds) == 1) {
    char buffer[256];
    const ssize_t got = ::read(reading.get(), buffer, sizeof buffer);
    if (got <= 0) break;
    line.append(buffer, static_cast<std::size_t>(got));
  }
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  return line.substr(0, line.find('\n'));
}

/// NODE_USE_ENV_PROXY is known from 22.21 and 24.5 on (Node.js release notes).
bool knows_env_proxy(const std::string& version) {
  const auto parts = split(std::string_view(version).substr(version.starts_with('v') ? 1 : 0), '.');
  if (parts.size() < 2) return false;
  const auto major = parse_unsigned(parts[0]).value_or(0);
  const auto minor = parse_unsigned(parts[1]).value_or(0);
  return major > 24 || (major == 24 && minor >= 5) || (major == 22 && minor >= 21);
}

ClientCheck check_node(const std::filesystem::path& program) {
  const std::string version = printable(version_of(program), 40);
  if (knows_env_proxy(version)) return {"node", kWorks, version + ": base URL or proxy"};
  return {"node", kPartly, version + ": base URL only; proxies from version 22.21 or 24.5 on"};
}

}  // namespace

std::vector<ClientCheck> check_clients() {
  std::vector<ClientCheck> found;
  if (const auto node = in_path("node"); !node.empty()) found.push_back(check_node(node));
  std::copy_if(kKnown.begin(), kKnown.end(), std::back_inserter(found),
               [](const auto& client) { return !in_path(client.program).empty(); });
  return found;
}

}  // namespace agentvault::cli
