// Servers of an agent that are reached from this machine: connections to a port of 127.0.0.1 here go to the same port
// of 127.0.0.1 inside of the session's network.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "net/acceptor.hpp"
#include "sandbox/cell.hpp"

namespace agentvault::session {

class Publisher {
 public:
  /// Listens at once. Throws Error(failed) when a port is taken.
  Publisher(net::Reactor& reactor, sandbox::Cell& cell, const std::vector<std::uint16_t>& ports);
  ~Publisher();
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

  /// What the cell answered to the oldest question that is open.
  void connected(UniqueFd inside);

 private:
  class Bridge;

  void arrived(UniqueFd outside, std::uint16_t port);

  net::Reactor& reactor_;
  sandbox::Cell& cell_;
  std::vector<std::unique_ptr<net::Acceptor>> ports_;
  std::deque<UniqueFd> waiting_;
  std::vector<std::unique_ptr<Bridge>> bridges_;
};

}  // namespace agentvault::session
