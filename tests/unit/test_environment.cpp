#include <algorithm>

#include "base/error.hpp"
#include "catch.hpp"
#include "session/environment.hpp"

using namespace agentvault;
using namespace agentvault::session;

namespace {

broker::Grant grant(const char* name, std::vector<std::string> env, std::vector<std::string> env_url = {}) {
  broker::Grant made{name, {}, SecretBytes::copy_of(as_bytes("0123456789abcdef"))};
  made.binding.env = std::move(env);
  made.binding.env_url = std::move(env_url);
  made.binding.client_base = "/v1";
  return made;
}

Environment build(const std::vector<std::string>& inherited, const std::vector<broker::Grant>& grants) {
  return build_environment({inherited, &grants, "127.0.0.1:4000", "sid",
                            [](const std::string& name) { return "token-" + name; },
                            [](std::string_view value) { return value.find("REAL") != std::string_view::npos; }});
}

std::size_t count(const Environment& environment, const std::string& entry) {
  return static_cast<std::size_t>(std::count(environment.entries.begin(), environment.entries.end(), entry));
}

}  // namespace

TEST_CASE("the child gets tokens and URLs in place of keys") {
  std::vector<broker::Grant> grants;
  grants.push_back(grant("openai", {"OPENAI_API_KEY"}, {"OPENAI_BASE_URL"}));
  const auto out =
      build({"PATH=/bin", "OPENAI_API_KEY=sk-real", "OPENAI_API_KEY=twice", "AGENTVAULT_HOME=/v", "OTHER=1", "EMPTY="},
            grants);
  CHECK(count(out, "OPENAI_API_KEY=token-openai") == 1);
  CHECK(count(out, "OPENAI_BASE_URL=http://127.0.0.1:4000/openai/v1") == 1);
  CHECK(count(out, "AGENTVAULT_TOKEN=token-") == 1);
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

TEST_CASE("loopback stays direct when a proxy is set") {
  const auto out = build({"NO_PROXY=corp.example", "https_proxy=http://p"}, {});
  CHECK(count(out, "NO_PROXY=127.0.0.1,localhost,::1,corp.example") == 1);
  CHECK(count(out, "no_proxy=127.0.0.1,localhost,::1") == 1);
}
