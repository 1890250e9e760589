// When what a token opened must end, however busy it is: at the token's own end, or the session's.
#pragma once

#include <functional>

#include "broker/request.hpp"
#include "net/reactor.hpp"

namespace agentvault::broker {

class Deadline {
 public:
  explicit Deadline(net::Reactor& reactor) : timer_(reactor) {}

  void arm(SessionState& session, const Request& request, std::function<void()> passed);
  void cancel() { timer_.cancel(); }

 private:
  net::Timer timer_;
};

}  // namespace agentvault::broker
