// When what a token opened must end, however busy it is: at the token's own end, or the session's.
#pragma once

#include <functional>
#include <optional>

#include "broker/request.hpp"
#include "net/reactor.hpp"

namespace agentvault::broker {

class Deadline {
 public:
  explicit Deadline(net::Reactor& reactor) : reactor_(reactor) {}
  ~Deadline() { cancel(); }
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

  void arm(SessionState& session, const Request& request, std::function<void()> passed);
  void cancel();

 private:
  net::Reactor& reactor_;
  std::optional<net::Reactor::TimerId> timer_;
};

}  // namespace agentvault::broker
