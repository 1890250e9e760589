// The control socket of a session: one JSON object a line, one answer a line. Reached by the vault's owner only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "keys/vault_paths.hpp"
#include "net/reactor.hpp"

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

/// Answers on the session's side.
class ControlServer final : public net::Watcher {
 public:
  using StatusSource = std::function<SessionStatus()>;
  ControlServer(net::Reactor& reactor, int listening_socket, StatusSource status);
  ~ControlServer() override;
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

 private:
  class Connection;
  void on_ready(std::uint32_t events) override;

  net::Reactor& reactor_;
  int socket_;
  StatusSource status_;
  std::map<Connection*, std::unique_ptr<Connection>> connections_;
};

/// Asks a session; nothing when it does not answer within 2 s (it is starting, stopped or hung).
std::optional<SessionStatus> ask_status(const keys::VaultPaths& paths, const std::string& name);

}  // namespace agentvault::session
