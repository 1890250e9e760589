#include "broker/broker.hpp"

#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <vector>

#include "base/error.hpp"
#include "base/log.hpp"
#include "broker/client_connection.hpp"
#include "net/address.hpp"
#include "net/peer.hpp"

namespace agentvault::broker {
namespace {

constexpr std::size_t kMaxConnections = 1024;
constexpr std::size_t kReservedDescriptors = 64;  // for the control socket, the log, and whatever a library opens
constexpr int kBacklog = 256;
constexpr std::chrono::milliseconds kAcceptPause{100};

/// An agent that opens connections must not take the last descriptor: each may need one more towards an upstream.
std::size_t most_connections() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 16;
  limit.rlim_cur = limit.rlim_max;  // the child keeps its own: it was forked before
  ::setrlimit(RLIMIT_NOFILE, &limit);
  const auto descriptors = std::min<std::size_t>(limit.rlim_cur, 65536);
  if (descriptors < 2 * kReservedDescriptors) return 16;
  return std::min(kMaxConnections, (descriptors - kReservedDescriptors) / 3);
}

struct Port {
  UniqueFd socket;
  std::uint16_t number = 0;
};

Port listen_on_loopback() {
  Port port{UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)), 0};
  const net::Address any_port = net::Address::loopback(0);
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  const int socket = port.socket.get();
  if (!port.socket || ::bind(socket, any_port.get(), any_port.size()) != 0 || ::listen(socket, kBacklog) != 0 ||
      ::getsockname(socket, reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
    throw_errno("listen on 127.0.0.1");
  }
  port.number = net::Address::from(reinterpret_cast<sockaddr*>(&bound), size)->port();
  return port;
}

/// Root is trusted, and every process of the session's user belongs to it; nobody else of the machine does. Where the
/// kernel does not tell, a token must do.
bool is_of_this_session(int socket, bool needs_no_token) {
  const auto owner = net::owner_of_peer(socket);
  if (!owner || !owner->held) return !needs_no_token;
  return (owner->user == ::geteuid() || owner->user == 0);
}

}  // namespace

class Broker::Server {
 public:
  Server(net::Reactor& reactor, SessionState& session, net::SessionCa& ca, BrokerOptions options)
      : context_{reactor,
                 session,
                 net::Network(reactor, std::move(options.outer_proxy)),
                 UpstreamPool(context_.network),
                 ca,
                 std::move(options.egress),
                 {},
                 {},
                 0,
                 {}},
        implied_(*session.verify(token::encode(options.implied_token))),
        main_(*this, nullptr),
        tokenless_(*this, &implied_) {
    context_.authority = "127.0.0.1:" + std::to_string(main_.number());
    for (std::size_t i = 0; i < session.grants().size(); ++i) context_.needles.add(i, session.grants()[i].secret);
  }

  const BrokerContext& context() const { return context_; }
  std::uint16_t tokenless_port() const { return tokenless_.number(); }

  void enforce_withdrawals() {
    std::vector<ClientConnection*> all;  // ending one takes it out of the map
    for (const auto& [key, connection] : connections_) all.push_back(key);
    for (auto* connection : all) {
      if (connections_.contains(connection)) connection->enforce_withdrawals();
    }
  }

 private:
  class Listener final : public net::Watcher {
   public:
    Listener(Server& server, const VerifiedToken* implied)
        : server_(server), implied_(implied), port_(listen_on_loopback()) {
      server_.context_.reactor.add(port_.socket.get(), EPOLLIN, this);
    }
    ~Listener() override { server_.context_.reactor.remove(port_.socket.get(), this); }
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;

    std::uint16_t number() const { return port_.number; }
    void accept_all() {
      while (server_.has_room()) {
        UniqueFd socket(::accept4(port_.socket.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (!socket) {
          if (errno == EAGAIN) return;
          if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) return server_.accept_later();
          continue;  // that connection is gone already
        }
        if (is_of_this_session(socket.get(), implied_ != nullptr)) server_.add(std::move(socket), implied_);
      }
    }

   private:
    void on_ready(std::uint32_t) override { accept_all(); }
    Server& server_;
    const VerifiedToken* implied_;
    Port port_;
  };

  bool has_room() const { return connections_.size() < most_; }

  void add(UniqueFd socket, const VerifiedToken* implied) try {
    auto connection =
        std::make_unique<ClientConnection>(context_, std::move(socket), implied, [this](ClientConnection& gone) {
          const auto found = connections_.find(&gone);
          if (found == connections_.end()) return;
          context_.reactor.retire(std::move(found->second));
          connections_.erase(found);
          // The queues may hold connections that did not fit before.
          if (connections_.size() + 1 == most_) accept_later();
        });
    auto* key = connection.get();
    connections_.emplace(key, std::move(connection));
  } catch (const std::exception& error) {
    log::warning(std::string("a connection was not taken: ") + error.what());
  }

  void accept_later() {
    if (accept_scheduled_) return;
    accept_scheduled_ = true;
    context_.reactor.after(kAcceptPause, [this] {
      accept_scheduled_ = false;
      main_.accept_all();
      tokenless_.accept_all();
    });
  }

  BrokerContext context_;
  VerifiedToken implied_;
  std::size_t most_ = most_connections();
  bool accept_scheduled_ = false;
  std::map<ClientConnection*, std::unique_ptr<ClientConnection>> connections_;
  Listener main_;
  Listener tokenless_;
};

Broker::Broker(net::Reactor& reactor, SessionState& session, net::SessionCa& ca, BrokerOptions options)
    : server_(std::make_unique<Server>(reactor, session, ca, std::move(options))) {}
Broker::~Broker() = default;

const std::string& Broker::authority() const {
  return server_->context().authority;
}

std::uint16_t Broker::tokenless_proxy_port() const {
  return server_->tokenless_port();
}

void Broker::enforce_withdrawals() {
  server_->enforce_withdrawals();
}

bool Broker::holds_secret(std::string_view text) const {
  return server_->context().needles.found_in(text);
}

}  // namespace agentvault::broker
