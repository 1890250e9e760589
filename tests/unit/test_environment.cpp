#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/file.hpp"
#include "catch.hpp"
#include "provider/preset.hpp"
#include "scratch.hpp"
#include "session/environment.hpp"
#include "session/key_variables.hpp"

using namespace agentvault;
using namespace agentvault::session;

namespace {

using Variables = std::vector<std::pair<std::string, std::string>>;

broker::Grant grant(const char* name, std::vector<std::string> env, std::vector<std::string> env_url = {}) {
  broker::Grant made{name, {}, SecretBytes::copy_of(as_bytes("0123456789abcdef"))};
  made.binding.env = std::move(env);
  made.binding.env_url = std::move(env_url);
  made.binding.client_base = "/v1";
  return made;
}

Environment build(const std::vector<std::string>& inherited, const std::vector<broker::Grant>& grants,
                  const std::string& program = "sh") {
  static const Scratch scratch;
  static const net::SessionCa ca("test", std::chrono::hours(1));
  static const ClientFiles files(scratch / "", "sid", ca, [](const char*) { return std::string(); });
  EnvironmentRequest request;
  request.inherited = inherited;
  request.program = program;
  request.grants = &grants;
  request.authority = "127.0.0.1:4000";
  request.tokenless_proxy_port = 4001;
  request.session = "sid";
  request.files = &files;
  request.mint = [](const std::string& name) { return "token-" + name; };
  request.widest_token = "token-widest";
  request.proxy_token = "token-proxy";
  request.holds_secret = [](std::string_view value) { return value.find("REAL") != std::string_view::npos; };
  return build_environment(request);
}

std::size_t count(const Environment& environment, const std::string& entry) {
  return static_cast<std::size_t>(std::count(environment.entries.begin(), environment.entries.end(), entry));
}

}  // namespace

TEST_CASE("what looks like a key of others is held back") {
  const auto presets = provider::Presets::load("");
  for (const auto& preset : presets.list()) {
    for (const auto& name : preset.binding.env) {
      INFO(name);
      CHECK(holds_a_key(name, "0123456789"));
    }
  }
  for (const auto& [name, value] : Variables{{"AWS_SECRET_ACCESS_KEY", "standin-0123456789"},
                                             {"DATABASE_URL", "postgres://u:standin@db/x"},
                                             {"REDIS", "redis://:standin@cache:6379/0"},
                                             {"PGPASSWORD", "pw"},
                                             {"DB_PASS", "x"},
                                             {"WHATEVER", "ghp_standin0standin0standin0"},
                                             {"NOTES", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA"},
                                             {"SENTRY_DSN", "https://standin@o1.ingest.example/1"},
                                             {"openai_api_key", "standin-0123456789"},
                                             {"GITHUB_TOKEN_2", "standin-0123456789"},
                                             {"BORG_PASSPHRASE", "pw"},
                                             {"SECRET_KEY_BASE", "standin-0123456789"},
                                             {"REMOTE", "https://ghp_standin0standin0standin0@host.example/x"},
                                             {"ANTHROPIC_CUSTOM_HEADERS", "x-api-key: sk-standin0standin0standin0"},
                                             {"GIT_CONFIG_VALUE_0", "Authorization: Basic c3RhbmRpbg=="},
                                             {"CONNECTION", "Server=db;User=u;Password=standin"}}) {
    INFO(name);
    CHECK(holds_a_key(name, value));
  }
  for (const auto& [name, value] : Variables{{"PATH", "/usr/bin:/bin"},
                                             {"GPG_KEY", "0123456789ABCDEF0123456789ABCDEF01234567"},
                                             {"SSH_KEY", "/home/u/.ssh/id_ed25519"},
                                             {"MAX_TOKEN", "4096"},
                                             {"CLAUDE_CODE_MAX_OUTPUT_TOKENS", "32000000"},
                                             {"STRIPE_PUBLISHABLE_KEY", "pk_test_0123456789012345"},
                                             {"HOMEPAGE", "https://example.org/a:b@c"},
                                             {"REMOTE", "https://u@example.org/x"},
                                             {"GIT_AUTHOR_NAME", "sk-"},
                                             {"LESSKEY", "0123456789"},
                                             {"STARSHIP_SESSION_KEY", "1234567890123456"},
                                             {"SSH_KEY", "~/.ssh/id_ed25519"},
                                             {"TLS_KEY", "certs/server.key"},
                                             {"BUILD_PASS", "2"},
                                             {"MODEL", "hf_hub_download_from_a_cache"},
                                             {"PKG", "npm_config_cache_folder"},
                                             {"API_TOKEN", ""}}) {
    INFO(name);
    CHECK_FALSE(holds_a_key(name, value));
  }
  const auto out = build({"GITHUB_TOKEN=0123456789", "PGPASSWORD=x", "PATH=/bin"}, {});
  CHECK(out.held_back == std::vector<std::string>{"GITHUB_TOKEN", "PGPASSWORD"});
  CHECK(count(out, "GITHUB_TOKEN=0123456789") == 0);
  CHECK(count(out, "PATH=/bin") == 1);
}

TEST_CASE("the child gets tokens and URLs in place of keys") {
  std::vector<broker::Grant> grants;
  grants.push_back(grant("openai", {"OPENAI_API_KEY"}, {"OPENAI_BASE_URL"}));
  const auto out =
      build({"PATH=/bin", "OPENAI_API_KEY=sk-real", "OPENAI_API_KEY=twice", "AGENTVAULT_HOME=/v", "OTHER=1", "EMPTY="},
            grants);
  CHECK(count(out, "OPENAI_API_KEY=token-openai") == 1);
  CHECK(count(out, "OPENAI_BASE_URL=http://127.0.0.1:4000/openai/v1") == 1);
  CHECK(count(out, "AGENTVAULT_TOKEN=token-widest") == 1);
  CHECK(count(out, "AGENTVAULT_URL=http://127.0.0.1:4000") == 1);
  CHECK(count(out, "AGENTVAULT_SESSION=sid") == 1);
  CHECK(count(out, "PATH=/bin") == 1);
  CHECK(count(out, "EMPTY=") == 1);
  for (const auto& entry : out.entries) {
    CHECK(entry.find("sk-real") == std::string::npos);
    CHECK(entry.find("twice") == std::string::npos);
    CHECK(entry.find("AGENTVAULT_HOME") == std::string::npos);
  }
}

TEST_CASE("a granted key under another name is taken out, and named") {
  const auto out = build({"MY_COPY=xREALx", "FINE=1"}, {});
  CHECK(out.removed == std::vector<std::string>{"MY_COPY"});
  CHECK(count(out, "FINE=1") == 1);
}

TEST_CASE("a program that asks about each new key gets the token where it does not ask") {
  std::vector<broker::Grant> grants;
  grants.push_back(grant("anthropic", {"ANTHROPIC_API_KEY"}));
  const std::vector<std::string> inherited{"ANTHROPIC_API_KEY=sk-real", "ANTHROPIC_AUTH_TOKEN=real2"};
  CHECK(build(inherited, grants).entries.front() == "ANTHROPIC_AUTH_TOKEN=real2");
  CHECK(count(build(inherited, grants), "ANTHROPIC_API_KEY=token-anthropic") == 1);
  const auto out = build(inherited, grants, "claude");
  CHECK(count(out, "ANTHROPIC_AUTH_TOKEN=token-anthropic") == 1);
  for (const auto& entry : out.entries) CHECK(!entry.starts_with("ANTHROPIC_API_KEY="));
  // Without a credential the user's own stay.
  CHECK(count(build(inherited, {}, "claude"), "ANTHROPIC_API_KEY=sk-real") == 1);
  // One that claims both is no conflict with itself.
  grants.front().binding.env = {"ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"};
  CHECK(count(build(inherited, grants, "claude"), "ANTHROPIC_AUTH_TOKEN=token-anthropic") == 1);
}

TEST_CASE("nothing is set for a credential that is not granted") {
  const auto out = build({"OPENAI_API_KEY=mine"}, {});
  CHECK(count(out, "OPENAI_API_KEY=mine") == 1);
}

TEST_CASE("two credentials that claim one variable are an error naming both") {
  std::vector<broker::Grant> grants;
  grants.push_back(grant("one", {"KEY"}));
  grants.push_back(grant("two", {"KEY"}));
  try {
    build({}, grants);
    FAIL("accepted");
  } catch (const Error& error) {
    const std::string message = error.what();
    CHECK(message.find("one") != std::string::npos);
    CHECK(message.find("two") != std::string::npos);
    CHECK(message.find("KEY") != std::string::npos);
  }
}

TEST_CASE("clients are sent through the broker, loopback is not") {
  const auto out = build({"NO_PROXY=corp.example", "https_proxy=http://p", "ALL_PROXY=socks5h://p"}, {});
  for (const char* name : {"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"}) {
    CHECK(count(out, std::string(name) + "=http://agentvault:token-proxy@127.0.0.1:4000") == 1);
  }
  // What the user had set would bypass the broker.
  CHECK(count(out, "NO_PROXY=127.0.0.1,localhost,::1") == 1);
  CHECK(count(out, "no_proxy=127.0.0.1,localhost,::1") == 1);
}

TEST_CASE("a loopback upstream that a credential is bound to goes through the broker") {
  std::vector<broker::Grant> grants;
  grants.push_back(grant("local", {}));
  grants.back().binding.origin = net::Origin::parse("https://localhost:8443");
  CHECK(count(build({}, grants), "NO_PROXY=127.0.0.1,::1") == 1);
}

TEST_CASE("git gets the token and https for the hosts it has a credential for, behind what it had") {
  std::vector<broker::Grant> grants;
  grants.push_back(grant("forge", {}));
  grants.back().binding.origin = net::Origin::parse("https://forge.example");
  CHECK(count(build({}, grants), "GIT_TERMINAL_PROMPT=0") == 0);
  grants.back().binding.git = true;
  const auto out = build({"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=a.b", "GIT_CONFIG_VALUE_0=c"}, grants);
  CHECK(count(out, "GIT_CONFIG_COUNT=4") == 1);
  CHECK(count(out, "GIT_CONFIG_KEY_0=a.b") == 1);
  CHECK(count(out, "GIT_CONFIG_KEY_1=http.https://forge.example/.extraHeader") == 1);
  // printf 'x-access-token:token-forge' | base64
  CHECK(count(out, "GIT_CONFIG_VALUE_1=Authorization: Basic eC1hY2Nlc3MtdG9rZW46dG9rZW4tZm9yZ2U=") == 1);
  CHECK(count(out, "GIT_CONFIG_KEY_2=url.https://forge.example/.insteadOf") == 1);
  CHECK(count(out, "GIT_CONFIG_VALUE_2=git@forge.example:") == 1);
  CHECK(count(out, "GIT_CONFIG_VALUE_3=ssh://git@forge.example/") == 1);
}

TEST_CASE("Java keeps its own options, and gets the port that asks for no token") {
  const auto out = build({"JAVA_TOOL_OPTIONS=-Xmx1g"}, {});
  const auto found = std::find_if(out.entries.begin(), out.entries.end(),
                                  [](const auto& entry) { return entry.starts_with("JAVA_TOOL_OPTIONS="); });
  REQUIRE(found != out.entries.end());
  CHECK(found->starts_with("JAVA_TOOL_OPTIONS=-Xmx1g -D"));
  CHECK(found->find("-Dhttps.proxyPort=4001") != std::string::npos);
}
