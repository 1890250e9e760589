// The request path alone, for tools that count: a broker with everything on (token, 100 rules, budget, audit,
// scrubbing), a client and a TLS upstream in processes of their own. "bench_request_path KIND COUNT" makes COUNT
// requests of one kind, one after the other. What two runs with different counts differ by is the cost of requests.
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "base/crypto.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "broker/broker.hpp"
#include "net/address.hpp"
#include "policy/document.hpp"

namespace {

using namespace agentvault;

constexpr std::chrono::hours kLifetime{1};
constexpr int kRules = 100;
constexpr int kChunks = 200;
constexpr const char* kModelCall =
    R"({"model": "gpt-4o-mini", "max_tokens": 256, "messages": [{"role": "user", "content": "How are you?"}]})";
constexpr const char* kModelAnswer =
    R"({"object": "chat.completion", "model": "gpt-4o-mini", "choices": [{"index": 0, "message": {"role": "assistant",
    "content": "Well."}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 11, "completion_tokens": 2}})";

struct Kind {
  std::string method;
  std::string path;
  std::string request_body;
  std::string answer;  // of the upstream, complete
};

std::string answer_of(const std::string& type, const std::string& body) {
  return "HTTP/1.1 200 OK\r\nServer: stand-in\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: " + type +
         "\r\nContent-Length: " + std::to_string(body.size()) + "\r\nConnection: keep-alive\r\n\r\n" + body;
}

std::string stream_of_events() {
  std::string out =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: "
      "keep-alive\r\n\r\n";
  const std::string event = "data: {\"choices\": [{\"delta\": {\"content\": \"a few words of text\"}}]}\n\n";
  char size[16];
  std::snprintf(size, sizeof size, "%zx\r\n", event.size());
  for (int i = 0; i < kChunks; ++i) out += size + event + "\r\n";
  return out + "0\r\n\r\n";
}

const std::map<std::string, Kind>& kinds() {
  static const std::map<std::string, Kind> all{
      {"small", {"GET", "/v1/items/17", "", answer_of("application/json", std::string(512, 'x'))}},
      {"model", {"POST", "/v1/chat/completions", kModelCall, answer_of("application/json", kModelAnswer)}},
      {"large", {"GET", "/v1/items/17", "", answer_of("application/octet-stream", std::string(64 * 1024, 'x'))}},
      {"stream", {"GET", "/v1/items/17", "", stream_of_events()}}};
  return all;
}

policy::AgentPolicy policy_of_many_rules() {
  std::string text =
      "version = 1\n[agents.default.budget]\nrequests_per_day = 1000000000\ntokens_per_day = 1000000000000\n";
  for (int i = 0; i < kRules - 1; ++i) {
    text += "[[agents.default.rules]]\neffect = \"" + std::string(i % 10 == 0 ? "deny" : "allow") +
            "\"\nmethods = [\"" + (i % 3 == 0 ? "POST" : "GET") + "\"]\npaths = [\"/v1/places/" + std::to_string(i) +
            (i % 5 == 0 ? "/*/comments" : "/**") + "\"]\n";
  }
  text += "[[agents.default.rules]]\neffect = \"allow\"\npaths = [\"/v1/items/*\", \"/v1/chat/**\"]\n";
  return *policy::parse_document(text, "policy.toml").find("default");
}

UniqueFd listen_on(std::uint16_t& port) {
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto any = net::Address::loopback(0);
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  if (::bind(socket.get(), any.get(), any.size()) != 0 || ::listen(socket.get(), 8) != 0 ||
      ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&name), &size) != 0) {
    throw_errno("listen");
  }
  port = net::Address::from(reinterpret_cast<sockaddr*>(&name), size)->port();
  return socket;
}

/// Answers each request on one connection after the other.
[[noreturn]] void be_upstream(int listener, net::SessionCa& ca, const Kind& kind) {
  for (;;) {
    const UniqueFd socket(::accept(listener, nullptr, nullptr));
    if (!socket) ::_exit(0);
    SSL* tls = ca.accept("localhost");
    SSL_set_fd(tls, socket.get());
    if (SSL_accept(tls) != 1) ::_exit(1);
    std::string received;
    char buffer[16 * 1024];
    for (int got = 0; (got = SSL_read(tls, buffer, sizeof buffer)) > 0;) {
      received.append(buffer, static_cast<std::size_t>(got));
      const auto end = received.find("\r\n\r\n");
      if (end == std::string::npos || received.size() < end + 4 + kind.request_body.size()) continue;
      received.clear();
      for (std::size_t sent = 0, now = 0; sent < kind.answer.size(); sent += now) {
        if (SSL_write_ex(tls, kind.answer.data() + sent, kind.answer.size() - sent, &now) != 1) ::_exit(1);
      }
    }
    SSL_free(tls);
  }
}

/// Waits for each answer before it sends the next request.
[[noreturn]] void be_client(std::uint16_t port, const std::string& request, int count) {
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM, 0));
  const auto broker = net::Address::loopback(port);
  if (::connect(socket.get(), broker.get(), broker.size()) != 0) ::_exit(1);
  std::string received;
  char buffer[256 * 1024];
  for (int i = 0; i < count; ++i) {
    write_all(socket.get(), as_bytes(request), "a request");
    received.clear();
    for (;;) {
      const ssize_t got = ::read(socket.get(), buffer, sizeof buffer);
      if (got <= 0) ::_exit(1);
      received.append(buffer, static_cast<std::size_t>(got));
      if (!received.starts_with("HTTP/1.1 200")) {
        std::fprintf(stderr, "%s\n", received.c_str());
        ::_exit(1);
      }
      const auto end = received.find("\r\n\r\n");
      if (end == std::string::npos) continue;
      const auto length = received.find("Content-Length: ");
      const bool whole = length < end ? received.size() == end + 4 + std::strtoul(&received[length + 16], nullptr, 10)
                                      : received.ends_with("\r\n0\r\n\r\n");
      if (whole) break;
    }
  }
  ::_exit(0);
}

class UntilClosed final : public net::Watcher {
 public:
  UntilClosed(net::Reactor& reactor, int fd) : reactor_(reactor), fd_(fd) { reactor_.add(fd, 1 /* EPOLLIN */, this); }
  ~UntilClosed() override { reactor_.remove(fd_, this); }
  void on_ready(std::uint32_t) override { reactor_.stop(); }

 private:
  net::Reactor& reactor_;
  int fd_;
};

int run(const Kind& kind, int count, const std::filesystem::path& folder) {
  std::uint16_t upstream_port = 0;
  UniqueFd listener = listen_on(upstream_port);
  net::SessionCa upstream_ca("upstream", kLifetime);
  const pid_t upstream = ::fork();
  if (upstream == 0) be_upstream(listener.get(), upstream_ca, kind);
  listener.reset();

  std::vector<broker::Grant> grants(1);
  auto& grant = grants.front();
  grant.name = "api";
  grant.binding.provider = "openai";
  grant.binding.origin = {"localhost", upstream_port};
  grant.binding.base = "/v1";
  grant.binding.inject = provider::Injection::parse("bearer");
  grant.binding.ca_pem = upstream_ca.certificate_pem();
  grant.metering.shape = provider::Metering::Shape::openai;
  grant.secret = SecretBytes::copy_of(as_bytes("sk-stand-in-0123456789abcdefghij"));
  net::Reactor reactor;
  const Bytes id = random_bytes(8);
  broker::SessionState state(id, 1, broker::Lease(kLifetime, kLifetime, [] { return true; }), std::move(grants),
                             audit::Segment::create(folder / "audit", "session"));
  state.set_ledger(budget::Ledger(folder / "budgets" / "default", "default", random_secret(32)));
  state.govern(policy_of_many_rules());
  net::SessionCa ca("bench", kLifetime);
  broker::Broker broker(reactor, state, ca,
                        {broker::Entrances::on_loopback(), {}, std::nullopt, state.mint({token::Credential{""}})});
  const std::string body =
      kind.request_body.empty()
          ? ""
          : "Content-Type: application/json\r\nContent-Length: " + std::to_string(kind.request_body.size()) + "\r\n";
  const std::string request = kind.method + " /api" + kind.path + " HTTP/1.1\r\nHost: " + broker.authority() +
                              "\r\nAuthorization: Bearer " + token::encode(state.mint({token::Credential{"api"}})) +
                              "\r\nAccept: application/json\r\nUser-Agent: stand-in/1.0\r\n" + body + "\r\n" +
                              kind.request_body;

  int lives[2];
  if (::pipe(lives) != 0) throw_errno("make a pipe");
  const pid_t client = ::fork();
  if (client == 0) be_client(broker.port(), request, count);
  ::close(lives[1]);
  {
    const UntilClosed watch(reactor, lives[0]);
    reactor.run();
  }
  broker.end();
  int status = 1;
  ::waitpid(client, &status, 0);
  ::kill(upstream, SIGKILL);
  ::waitpid(upstream, nullptr, 0);
  return status == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "compiler") {
    std::puts(AGENTVAULT_COMPILER);
    return 0;
  }
  const auto kind = argc == 3 ? kinds().find(argv[1]) : kinds().end();
  if (kind == kinds().end()) {
    std::fprintf(stderr, "usage: bench_request_path small|model|large|stream COUNT, or compiler\n");
    return 2;
  }
  char folder[] = "/tmp/agentvault-path-XXXXXX";
  if (::mkdtemp(folder) == nullptr) return 1;
  int code = 1;
  try {
    code = run(kind->second, std::atoi(argv[2]), folder);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  std::filesystem::remove_all(folder);
  return code;
}
