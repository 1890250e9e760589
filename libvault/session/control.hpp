// The control socket of a session: one JSON object a line, one answer a line. Reached by the vault's owner only.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "broker/approvals.hpp"
#include "keys/vault_paths.hpp"
#include "net/acceptor.hpp"

namespace agentvault::session {

struct SessionStatus {
  std::string id;
  int pid = 0;
  std::string agent;
  std::vector<std::string> credentials;
  std::string isolation;
  std::string command;     // name of the program, without its arguments
  std::int64_t since = 0;  // Unix seconds
  std::uint64_t requests = 0;
};

/// What a session does when it is told to. Each returns once it is done: the answer goes out after it.
struct ControlHandlers {
  std::function<SessionStatus()> status;
  /// `rotated`: because the vault has another master key, and for no other reason.
  std::function<void(bool rotated)> stop;
  /// False: it is another agent's session.
  std::function<bool(const std::string& agent)> stop_agent;
  /// Of a token or a delegation, hexadecimal. False: no token of this session.
  std::function<bool(const std::string& id)> revoke_token;
  std::function<void(const std::string& credential)> withdraw;
  /// What waits for a person, and the answer: approved for this once, or also for requests like it for so long. False:
  /// nothing of that id waits here. An agent cannot reach the socket where a person is asked at all.
  std::function<std::vector<broker::Question>()> questions;
  std::function<std::optional<std::string>(const std::string& id)> question_body;
  std::function<bool(const std::string& id, bool approved, std::chrono::seconds standing)> answer;
  /// `announcement` as session/announcement.hpp writes it. False: not for this session, or not of its vault.
  std::function<bool(ByteView announcement)> policies;
};

/// Answers on the session's side, before anything else that is ready. Whoever reaches the socket is the vault's
/// owner: what takes away needs no other proof, what could give brings one.
class ControlServer {
 public:
  ControlServer(net::Reactor& reactor, int listening_socket, ControlHandlers handlers);
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

 private:
  class Connection;
  std::string answer(const std::string& line);
  void take(UniqueFd socket);

  net::Reactor& reactor_;
  ControlHandlers handlers_;
  std::map<Connection*, std::unique_ptr<Connection>> connections_;
  net::Acceptor acceptor_;
};

/// What waits in a session; nothing when it does not answer in time.
std::optional<std::vector<broker::Question>> ask_questions(const keys::VaultPaths& paths, const std::string& name);
/// The whole body of what waits under that id; nothing when it does not wait in this session.
std::optional<std::string> ask_question_body(const keys::VaultPaths& paths, const std::string& name,
                                             const std::string& id);

/// How long a session has to answer.
inline constexpr std::chrono::milliseconds kControlPatience{2000};

/// Asks a session; nothing when it does not answer in time (it is stopped or hung).
std::optional<SessionStatus> ask_status(const keys::VaultPaths& paths, const std::string& name);

inline constexpr const char* kRotated = "rotated";

struct ControlCommand {
  enum class Kind { stop, stop_agent, revoke_token, withdraw, policies, approve, deny };
  Kind kind = Kind::stop;
  std::string subject;        // the agent, the token's id, the credential's name, the announcement in base64, the
                              // question's id; of a stop kRotated, if the vault has another master key
  std::uint64_t seconds = 0;  // approve: how long for requests like it, too
};
/// The line that goes through the socket, and what an answer says.
std::string control_line(const ControlCommand& command);
enum class Acknowledgement { none, done, not_mine };
Acknowledgement acknowledgement(const std::string& line);

}  // namespace agentvault::session
