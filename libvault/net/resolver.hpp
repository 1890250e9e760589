// Names to addresses, without blocking the loop: c-ares, the system's resolv.conf (read again when it changes) and
// hosts file. Bounded: 5 s a try, two tries, 16 addresses an answer.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "net/address.hpp"
#include "net/reactor.hpp"

namespace agentvault::net {

class Resolver {
 public:
  /// No addresses: the name does not resolve, and `error` says why.
  using Answer = std::function<void(std::vector<Address> addresses, const std::string& error)>;

  explicit Resolver(Reactor& reactor);
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  /// `answer` is called from the loop, never from inside this call. Literals and "localhost" need no lookup.
  void resolve(const std::string& host, std::uint16_t port, Answer answer);

 private:
  struct Channel;
  Reactor& reactor_;
  std::unique_ptr<Channel> channel_;  // made with the first lookup: reading the configuration costs a millisecond
  std::int64_t configured_ = 0;       // when what the channel has read was written
};

}  // namespace agentvault::net
