#include <map>

#include "base/error.hpp"
#include "broker/json_body.hpp"
#include "catch.hpp"
#include "net/origin.hpp"
#include "net/outer_proxy.hpp"
#include "policy/egress.hpp"

using namespace agentvault;
using net::OuterProxy;
using policy::Egress;

namespace {

std::optional<OuterProxy> proxy_from(const std::map<std::string, std::string>& variables) {
  return OuterProxy::from_environment([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

}  // namespace

TEST_CASE("authorities are read in one way only") {
  const auto named = net::parse_authority("API.Example.org:8443");
  REQUIRE(named);
  CHECK(named->host == "api.example.org");
  CHECK(named->port == 8443);
  CHECK(net::parse_authority("[2001:DB8::1]:80")->host == "2001:db8::1");
  CHECK_FALSE(net::parse_authority("[::1]")->port);
  CHECK(net::parse_authority("example.org.:80")->host == "example.org");
  CHECK(net::parse_authority("10.0.0.1")->host == "10.0.0.1");
  for (const char* bad :
       {"",     ":",      ":80", "a:",  "a:0",        "a:65536", "a:+1",       "a:1:2",  "::1",        "[::1",
        "::1]", "[::1]x", "[]",  "[a]", "[10.0.0.1]", "127.1",   "127.0.0.1.", "0x7f.1", "2130706433", "a..b",
        "a..",  ".",      ".a",  "-a",  "a b",        "a/b",     "user@a",     "a%41",   "[::1%25lo]"}) {
    INFO(bad);
    CHECK_FALSE(net::parse_authority(bad));
  }
}

TEST_CASE("egress: open, brokered, or a list") {
  CHECK(Egress::parse("open").permits("any.example", 1));
  CHECK_FALSE(Egress::parse("brokered").permits("any.example", 443));
  const auto list = Egress::parse("docs.example.org, *.example.net,exact.example:8443,[::1]:5432");
  CHECK(list.text() == "docs.example.org,*.example.net,exact.example:8443,[::1]:5432");
  CHECK(list.permits("docs.example.org", 80));
  CHECK(list.permits("a.b.example.net", 443));
  CHECK_FALSE(list.permits("example.net", 443));
  CHECK_FALSE(list.permits("badexample.net", 443));
  CHECK_FALSE(list.permits("x.docs.example.org", 443));
  CHECK(list.permits("exact.example", 8443));
  CHECK_FALSE(list.permits("exact.example", 443));
  CHECK(list.names_local("::1", 5432));
  CHECK_FALSE(list.names_local("::1", 5433));
  CHECK_FALSE(list.names_local("docs.example.org", 80));  // a name is no local address, wherever it points
  CHECK_FALSE(Egress::parse("open").names_local("127.0.0.1", 80));
}

TEST_CASE("the outer proxy is read as other programs read it") {
  CHECK_FALSE(proxy_from({}));
  CHECK_FALSE(proxy_from({{"HTTPS_PROXY", ""}, {"HTTP_PROXY", "http://ignored:1"}}));
  const auto proxy = proxy_from({{"https_proxy", "http://Proxy.example:3128/"}, {"HTTPS_PROXY", "http://other:1"}});
  REQUIRE(proxy);
  CHECK(proxy->host() == "proxy.example");
  CHECK(proxy->port() == 3128);
  CHECK(proxy_from({{"ALL_PROXY", "proxy.example"}})->port() == 80);
  CHECK(proxy_from({{"HTTPS_PROXY", "http://[::1]:8080"}})->host() == "::1");
  const auto asked = proxy_from({{"HTTPS_PROXY", "http://u%40x:p%3Aq@p:1"}})->connect_request("::1", 443);
  CHECK(as_text(asked.reveal()) ==
        "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\nProxy-Authorization: Basic dUB4OnA6cQ==\r\n\r\n");
  for (const char* bad : {"socks5://p:1", "https://p:1", "http://", "http://p:0", "http://a b:1", "http://p:1x"}) {
    INFO(bad);
    CHECK_THROWS_AS(proxy_from({{"HTTPS_PROXY", bad}}), Error);
  }
}

TEST_CASE("NO_PROXY names hosts, suffixes and ports") {
  const auto with = [](const char* list) { return *proxy_from({{"HTTPS_PROXY", "http://p:1"}, {"NO_PROXY", list}}); };
  CHECK(with("example.org").bypassed_for("example.org", 443));
  CHECK(with("example.org").bypassed_for("a.example.org", 443));
  CHECK_FALSE(with("example.org").bypassed_for("badexample.org", 443));
  CHECK(with(".example.org").bypassed_for("a.example.org", 443));
  CHECK(with("*.example.org").bypassed_for("a.example.org", 443));
  CHECK(with(" x , EXAMPLE.org ").bypassed_for("example.org", 443));
  CHECK(with("example.org:8443").bypassed_for("example.org", 8443));
  CHECK_FALSE(with("example.org:8443").bypassed_for("example.org", 443));
  CHECK(with("::1").bypassed_for("::1", 443));
  CHECK(with("[::1]:443").bypassed_for("::1", 443));
  CHECK(with("*").bypassed_for("any.example", 443));
  CHECK_FALSE(with("").bypassed_for("any.example", 443));
  CHECK_FALSE(with(",, ,").bypassed_for("any.example", 443));
}

TEST_CASE("a text is cut out of a JSON body") {
  using namespace broker;
  const auto cut = std::get<CutText>(cut_text_out(R"({"b": [1, {"k": "old"}], "a": "x"})", "/b/1/k"));
  CHECK(cut.value == "old");
  CHECK(cut.before + "new" + cut.behind == R"({"b": [1, {"k": "new"}], "a": "x"})");
  // Everything else stays as it is, byte for byte.
  const auto exact =
      std::get<CutText>(cut_text_out(R"({"n": 1.10, "big": 12345678901234567890123, "k" : "a\\\"b\u0041\\" })", "/k"));
  CHECK(exact.value == R"(a\"bA\)");
  CHECK(exact.before == R"({"n": 1.10, "big": 12345678901234567890123, "k" : ")");
  CHECK(exact.behind == R"(" })");
  CHECK(std::get<CutText>(cut_text_out(R"({"a":{"k":"1"},"k":""})", "/k")).before == R"({"a":{"k":"1"},"k":")");
  CHECK(std::get<CutText>(cut_text_out(R"({"a":["x","y"]})", "/a/1")).value == "y");
  CHECK(std::holds_alternative<BadJson>(cut_text_out("{}", "/k")));
  for (const char* bad :
       {"", "[]", "1", R"({"k":1})", R"({"k":"a","k":"b"})", R"({"x":{"y":1,"y":1}})", "{\"k\":\"\xff\"}"}) {
    INFO(bad);
    CHECK(std::holds_alternative<BadJson>(cut_text_out(bad, "/k")));
  }
  CHECK(std::holds_alternative<BadJson>(cut_text_out(R"({"a":"text"})", "/a/k")));
}
