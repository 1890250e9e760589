#include "session/control.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/encoding.hpp"
#include "base/log.hpp"
#include "session/registry.hpp"

namespace agentvault::session {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxLine = 1024 * 1024;             // policies
constexpr std::size_t kMaxReply = std::size_t{32} << 20;  // a request's body
constexpr std::size_t kMaxConnections = 16;
constexpr std::uint64_t kMostSeconds = 366 * 86'400;
const std::map<ControlCommand::Kind, std::string> kNames{{ControlCommand::Kind::stop, "stop"},
                                                         {ControlCommand::Kind::stop_agent, "stop-agent"},
                                                         {ControlCommand::Kind::revoke_token, "revoke-token"},
                                                         {ControlCommand::Kind::withdraw, "withdraw"},
                                                         {ControlCommand::Kind::policies, "policies"},
                                                         {ControlCommand::Kind::approve, "approve"},
                                                         {ControlCommand::Kind::deny, "deny"}};

std::string to_line(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

json to_json(const SessionStatus& status) {
  return {{"id", status.id},
          {"pid", status.pid},
          {"agent", status.agent},
          {"credentials", status.credentials},
          {"isolation", status.isolation},
          {"command", status.command},
          {"since", status.since},
          {"requests", status.requests}};
}

json to_json(const broker::Question& question) {
  return {{"id", question.id},
          {"credential", question.credential},
          {"method", question.method},
          {"url", question.url},
          {"chain", question.chain},
          {"rule", question.rule},
          {"body_size", question.body_size},
          {"body_sha256", question.body_sha256},
          {"body_start", base64(as_bytes(question.body_start))},
          {"headers", question.headers},
          {"asked", question.asked},
          {"until", question.until}};
}

broker::Question question_from(const json& value) {
  broker::Question question;
  question.id = value.at("id").get<std::string>();
  question.credential = value.at("credential").get<std::string>();
  question.method = value.at("method").get<std::string>();
  question.url = value.at("url").get<std::string>();
  question.chain = value.at("chain").get<std::vector<std::string>>();
  question.rule = value.at("rule").get<std::string>();
  question.body_size = value.at("body_size").get<std::uint64_t>();
  question.body_sha256 = value.at("body_sha256").get<std::string>();
  const auto start = unbase64(value.at("body_start").get<std::string>()).value_or(Bytes());
  question.body_start = std::string(as_text(start));
  question.headers = value.at("headers").get<std::vector<std::string>>();
  question.asked = value.at("asked").get<std::int64_t>();
  question.until = value.at("until").get<std::int64_t>();
  return question;
}

/// One command, one line back; nothing when there is none in time.
std::optional<std::string> ask(const keys::VaultPaths& paths, const std::string& name, const std::string& command,
                               const std::string& subject = {}) {
  const UniqueFd socket = connect_control(paths, name);
  const std::string request = to_line({{"command", command}, {"subject", subject}});
  if (!socket || ::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) return std::nullopt;
  std::string text;
  const auto deadline = net::boot_time() + kControlPatience;
  while (text.size() < kMaxReply && !text.ends_with('\n')) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - net::boot_time()).count();
    pollfd waiting{socket.get(), POLLIN, 0};
    if (left <= 0 || ::poll(&waiting, 1, static_cast<int>(left)) <= 0) return std::nullopt;
    char buffer[65536];
    const ssize_t got = ::recv(socket.get(), buffer, sizeof buffer, 0);
    if (got <= 0) return std::nullopt;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  return text;
}

}  // namespace

std::string ControlServer::answer(const std::string& line) {
  const json request = json::parse(line, nullptr, false);
  const auto text = [&](const char* key) {
    return request.is_object() && request.contains(key) && request[key].is_string() ? request[key].get<std::string>()
                                                                                    : "";
  };
  const auto number = [&](const char* key) {
    return request.is_object() && request.contains(key) && request[key].is_number_unsigned()
               ? request[key].get<std::uint64_t>()
               : std::uint64_t{0};
  };
  const std::string command = text("command");
  if (command == "status") return to_line(to_json(handlers_.status()));
  if (command == "questions") {
    json list = json::array();
    for (const auto& question : handlers_.questions()) list.push_back(to_json(question));
    return to_line(list);
  }
  if (command == "question-body") {
    const auto body = handlers_.question_body(text("subject"));
    return to_line(body ? json{{"body", base64(as_bytes(*body))}} : json::object());
  }
  if (command == kNames.at(ControlCommand::Kind::stop)) {
    handlers_.stop(text("subject") == kRotated);
  } else if (command == kNames.at(ControlCommand::Kind::stop_agent)) {
    return to_line({{"done", handlers_.stop_agent(text("subject"))}});
  } else if (command == kNames.at(ControlCommand::Kind::revoke_token)) {
    return to_line({{"done", handlers_.revoke_token(text("subject"))}});
  } else if (command == kNames.at(ControlCommand::Kind::withdraw)) {
    handlers_.withdraw(text("subject"));
  } else if (command == kNames.at(ControlCommand::Kind::approve) || command == kNames.at(ControlCommand::Kind::deny)) {
    const bool approved = command == kNames.at(ControlCommand::Kind::approve);
    const auto seconds = std::chrono::seconds(std::min<std::uint64_t>(number("seconds"), kMostSeconds));
    return to_line({{"done", handlers_.answer(text("subject"), approved, seconds)}});
  } else if (command == kNames.at(ControlCommand::Kind::policies)) {
    const auto bytes = unbase64(text("subject"));
    return to_line({{"done", bytes && handlers_.policies(*bytes)}});
  } else {
    return to_line({{"error", "unknown command"}});
  }
  return to_line({{"done", true}});
}

class ControlServer::Connection final : public net::Watcher {
 public:
  Connection(ControlServer& server, UniqueFd socket)
      : server_(server), socket_(std::move(socket)), timer_(server.reactor_) {
    timer_.set(kControlPatience, [this] { close(); });
    server_.reactor_.add(socket_.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP, this);
  }
  ~Connection() override { server_.reactor_.remove(socket_.get(), this); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

 private:
  bool urgent() const override { return true; }
  void on_ready(std::uint32_t) override try { read_command(); } catch (const std::exception& error) {
    log::warning(std::string("a command was dropped: ") + error.what());
    close();
  }
  void read_command() {
    char buffer[4096];
    while (reply_.empty()) {
      const ssize_t got = ::recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
      if (got < 0 && errno == EAGAIN) return;
      if (got <= 0) return close();
      line_.append(buffer, static_cast<std::size_t>(got));
      if (line_.size() > kMaxLine) return close();
      const auto end = line_.find('\n');
      if (end == std::string::npos) continue;
      reply_ = server_.answer(line_.substr(0, end));
    }
    send_rest();
  }

  /// Whoever reads slowly is waited for until the timer closes.
  void send_rest() {
    while (sent_ < reply_.size()) {
      const ssize_t sent =
          ::send(socket_.get(), reply_.data() + sent_, reply_.size() - sent_, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent < 0 && errno == EAGAIN) return;
      if (sent < 0) break;
      sent_ += static_cast<std::size_t>(sent);
    }
    close();
  }

  void close() {
    timer_.cancel();
    auto found = server_.connections_.find(this);
    if (found == server_.connections_.end()) return;
    server_.reactor_.retire(std::move(found->second));
    server_.connections_.erase(found);
  }

  ControlServer& server_;
  UniqueFd socket_;
  net::Timer timer_;
  std::string line_;
  std::string reply_;
  std::size_t sent_ = 0;
};

ControlServer::ControlServer(net::Reactor& reactor, int listening_socket, ControlHandlers handlers)
    : reactor_(reactor),
      handlers_(std::move(handlers)),
      acceptor_(
          reactor, UniqueFd(::fcntl(listening_socket, F_DUPFD_CLOEXEC, 0)),
          [this](UniqueFd socket) { take(std::move(socket)); }, {}, net::Acceptor::Turn::urgent) {}

ControlServer::~ControlServer() = default;

void ControlServer::take(UniqueFd socket) {
  if (connections_.size() >= kMaxConnections) return;
  auto connection = std::make_unique<Connection>(*this, std::move(socket));
  auto* key = connection.get();
  connections_.emplace(key, std::move(connection));
}

std::optional<SessionStatus> ask_status(const keys::VaultPaths& paths, const std::string& name) {
  const auto text = ask(paths, name, "status");
  if (!text) return std::nullopt;
  try {
    const json value = json::parse(*text);
    SessionStatus status;
    status.id = value.at("id").get<std::string>();
    status.pid = value.at("pid").get<int>();
    status.agent = value.at("agent").get<std::string>();
    status.credentials = value.at("credentials").get<std::vector<std::string>>();
    status.isolation = value.at("isolation").get<std::string>();
    status.command = value.at("command").get<std::string>();
    status.since = value.at("since").get<std::int64_t>();
    status.requests = value.at("requests").get<std::uint64_t>();
    return status;
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

std::optional<std::vector<broker::Question>> ask_questions(const keys::VaultPaths& paths, const std::string& name) {
  const auto text = ask(paths, name, "questions");
  if (!text) return std::nullopt;
  try {
    std::vector<broker::Question> questions;
    for (const auto& value : json::parse(*text)) questions.push_back(question_from(value));
    return questions;
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

std::optional<std::string> ask_question_body(const keys::VaultPaths& paths, const std::string& name,
                                             const std::string& id) {
  const auto text = ask(paths, name, "question-body", id);
  const json answer = json::parse(text.value_or(""), nullptr, false);
  if (!answer.is_object() || !answer.contains("body") || !answer["body"].is_string()) return std::nullopt;
  const auto body = unbase64(answer["body"].get<std::string>());
  return body ? std::optional(std::string(as_text(*body))) : std::nullopt;
}

std::string control_line(const ControlCommand& command) {
  return to_line({{"command", kNames.at(command.kind)}, {"subject", command.subject}, {"seconds", command.seconds}});
}

Acknowledgement acknowledgement(const std::string& line) {
  const json answer = json::parse(line, nullptr, false);
  if (!answer.is_object() || !answer.contains("done") || !answer["done"].is_boolean()) return Acknowledgement::none;
  return answer["done"] == true ? Acknowledgement::done : Acknowledgement::not_mine;
}

}  // namespace agentvault::session
