#include "session/probe.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/installed_group.hpp"
#include "broker/broker.hpp"
#include "http/head.hpp"
#include "net/stream.hpp"
#include "session/budgets.hpp"
#include "session/registry.hpp"

namespace agentvault::session {
namespace {

using provider::Binding;
using provider::Place;

constexpr std::size_t kSessionIdSize = 8;
constexpr std::chrono::seconds kPatience{30};
constexpr std::size_t kMaxAnswer = std::size_t{1} << 20;
constexpr const char* kUnlikelyName = "agentvault-probe";

/// A path that the pattern matches.
std::string example_of(const http::PathPattern& pattern) {
  std::string out;
  for (char c : pattern.text()) {
    if (c != '*') {
      out.push_back(c);
    } else if (!out.ends_with(kUnlikelyName)) {
      out += kUnlikelyName;
    }
  }
  return out;
}

bool reads(const policy::Rule& rule) {
  return rule.effect == policy::Effect::allow && rule.has_method("GET");
}

/// What every path begins with: the base, and what stands around a key in the path.
std::string required_prefix(const Binding& binding) {
  if (binding.inject.place.kind != Place::Kind::path) return binding.base;
  std::string around = binding.inject.place.pattern;
  return binding.base + around.erase(around.find("{}"), 2);
}

/// The plainest path that may be read: one without wildcards, if there is one.
std::optional<std::string> harmless_path(const Binding& binding, const policy::RuleSet& rules) {
  const std::string prefix = required_prefix(binding);
  std::vector<std::string> candidates;
  for (const bool literal : {true, false}) {
    for (const auto& rule : rules.rules()) {
      if (!reads(rule)) continue;
      for (const auto& pattern : rule.paths) {
        if ((pattern.text().find('*') == std::string::npos) == literal) candidates.push_back(example_of(pattern));
      }
    }
  }
  candidates.push_back(prefix + "/" + kUnlikelyName);
  for (const auto& path : candidates) {
    policy::Facts facts;
    facts.host = binding.origin.host;
    facts.method = "GET";
    facts.path = path;
    facts.time = policy::LocalTime::of(std::chrono::system_clock::now());
    if (path.starts_with(prefix) && rules.decide(facts).allowed()) return path;
  }
  return std::nullopt;
}

/// The request as a client would send it, with the token where the key would go.
std::string write_request(const std::string& authority, const std::string& name, const Binding& binding,
                          std::string path, const std::string& token) {
  const Place& place = binding.inject.place;
  std::string fields;
  switch (place.kind) {
    case Place::Kind::header: {
      std::string value = place.pattern;
      value.replace(value.find("{}"), 2, token);
      fields = place.name + ": " + value + "\r\n";
      break;
    }
    case Place::Kind::basic: {
      const std::string pair = binding.inject.secret_is_user ? token + ":" : "agentvault:" + token;
      fields = "Authorization: Basic " + base64(as_bytes(pair)) + "\r\n";
      break;
    }
    case Place::Kind::query:
      path += "?" + place.name + "=" + token;
      break;
    case Place::Kind::path:
      path.insert(binding.base.size() + place.pattern.find("{}"), token);
      break;
    case Place::Kind::bearer:
    case Place::Kind::body:
      fields = "Authorization: Bearer " + token + "\r\n";
      break;
  }
  return "GET /" + name + path + " HTTP/1.1\r\nHost: " + authority + "\r\n" + fields +
         "User-Agent: agentvault-doctor\r\nAccept: */*\r\nConnection: close\r\n\r\n";
}

/// The client's side: one request, everything until the connection ends.
class Client final : public net::Stream::Owner {
 public:
  Client(net::Reactor& reactor, std::uint16_t port, std::string request)
      : reactor_(reactor),
        request_(std::move(request)),
        stream_(reactor, net::Address::loopback(port), *this),
        timer_(reactor) {
    timer_.set(kPatience, [this] { reactor_.stop(); });
  }
  ~Client() override { stream_.detach(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  const std::string& answer() const { return answer_; }

 private:
  void on_open() override { stream_.write(as_bytes(request_)); }
  void on_data(ByteView bytes) override {
    if (answer_.size() < kMaxAnswer) answer_ += as_text(bytes);
  }
  void on_end() override { reactor_.stop(); }
  void on_failure(const std::string&) override { reactor_.stop(); }

  net::Reactor& reactor_;
  std::string request_;
  std::string answer_;
  net::Stream stream_;
  net::Timer timer_;
};

/// A refusal of the broker says so in its own form; what an upstream says is its own.
void read_answer(const std::string& answer, std::uint64_t settled_by_upstream, Probe& probe) {
  const auto parsed = http::parse_response_head(answer);
  const auto* head = std::get_if<http::Parsed<http::ResponseHead>>(&parsed);
  if (head == nullptr) return;
  probe.status = head->head.status;
  if (settled_by_upstream != 0) return;
  const auto body = nlohmann::json::parse(answer.substr(head->size), nullptr, false);
  if (!body.is_object() || !body.contains("error")) return;
  probe.refusal = body["error"].value("code", "");
  probe.message = body["error"].value("message", "");
}

/// What the log says about the only request: 0, or the upstream's status.
std::uint64_t upstream_status(const std::filesystem::path& events) {
  const auto text = read_file(events, kMaxAnswer);
  std::uint64_t status = 0;
  std::string_view rest = text ? as_text(*text) : std::string_view();
  while (!rest.empty()) {
    const auto end = std::min(rest.find('\n'), rest.size() - 1);
    const auto line = nlohmann::json::parse(rest.substr(0, end), nullptr, false);
    if (line.is_object() && line.value("event", "") == "settled") status = line.value("status", std::uint64_t{0});
    rest.remove_prefix(end + 1);
  }
  return status;
}

}  // namespace

Probe probe(OpenRequest request, const std::string& credential) {
  harden_process();
  request.paths.check();
  const Bytes id = random_bytes(kSessionIdSize);
  request.session = id;
  std::error_code gone;
  request.folder = std::filesystem::current_path(gone);
  const Registration registration(request.paths, id);
  Opened opened = open_in_a_process_of_its_own(request, [](int) { return true; });

  net::Reactor reactor;
  broker::SessionState state(id, opened.generation, broker::Lease(kPatience, kPatience, [] { return true; }),
                             std::move(opened.grants), audit::Segment::create(request.paths.audit(), hex(id)));
  prepare_budgets(state, request, std::move(opened.budget_key));
  InstalledGroup::give_up();
  if (!opened.governance.text.empty()) {
    const auto& [path, text, none] = opened.governance;
    const store::PolicyRow row{path, path.empty() ? "" : request.agent, text};
    state.govern(governance_of({row}, request.agent, request.folder).agent);
  }
  const std::vector<std::string> credentials{credential};
  state.segment().write(audit::SessionBegan{request.agent, credentials, "off", opened.tpm});
  const Binding& binding = state.find(credential)->binding;
  if (binding.inject.place.kind == Place::Kind::body) {
    throw Error(ErrorKind::usage, "the key of " + credential + " goes into a body, which a harmless request has not",
                "send a request of your own through \"agentvault exec\"");
  }
  const auto path = harmless_path(binding, state.find(credential)->rules);
  if (!path) {
    throw Error(ErrorKind::usage, "the rules of " + credential + " allow no GET: there is no harmless request",
                "\"agentvault show " + credential + "\" lists them");
  }
  net::SessionCa ca("agentvault session " + registration.name(), kPatience);
  const auto implied = state.mint({token::Credential{""}});
  broker::Broker broker(reactor, state, ca,
                        {broker::Entrances::on_loopback(), {}, net::OuterProxy::from_environment(::getenv), implied});

  const std::string token = encode(state.mint({token::Credential{credential}}));
  const Client client(reactor, broker.port(), write_request(broker.authority(), credential, binding, *path, token));
  reactor.run();

  Probe result{"GET " + binding.origin.text() + *path, binding.inject.place.text(), binding.inject.text(), 0, "", ""};
  read_answer(client.answer(), upstream_status(request.paths.audit() / hex(id) / "events.jsonl"), result);
  broker.end();
  state.segment().write(audit::SessionEnded{"the probe ended"});
  return result;
}

}  // namespace agentvault::session
