#include "broker/broker.hpp"

#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <vector>

#include "base/error.hpp"
#include "base/log.hpp"
#include "broker/client_connection.hpp"
#include "net/address.hpp"

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

UniqueFd listen_on_loopback(std::string& authority) {
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const net::Address any_port = net::Address::loopback(0);
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  if (!socket || ::bind(socket.get(), any_port.get(), any_port.size()) != 0 || ::listen(socket.get(), kBacklog) != 0 ||
      ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
    throw_errno("listen on 127.0.0.1");
  }
  authority = "127.0.0.1:" + std::to_string(net::Address::from(reinterpret_cast<sockaddr*>(&bound), size)->port());
  return socket;
}

}  // namespace

class Broker::Listener final : public net::Watcher {
 public:
  Listener(net::Reactor& reactor, SessionState& session)
      : context_{reactor, session, UpstreamPool(reactor), {}, {}}, socket_(listen_on_loopback(context_.authority)) {
    for (std::size_t i = 0; i < session.grants().size(); ++i) context_.needles.add(i, session.grants()[i].secret);
    reactor.add(socket_.get(), EPOLLIN, this);
  }
  ~Listener() override { context_.reactor.remove(socket_.get(), this); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  const BrokerContext& context() const { return context_; }

  void enforce_withdrawals() {
    std::vector<ClientConnection*> all;  // ending one takes it out of the map
    for (const auto& [key, connection] : connections_) all.push_back(key);
    for (auto* connection : all) {
      if (connections_.contains(connection)) connection->enforce_withdrawals();
    }
  }

 private:
  void on_ready(std::uint32_t) override { accept_all(); }

  void accept_all() {
    while (connections_.size() < most_) {
      UniqueFd socket(::accept4(socket_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!socket) {
        if (errno == EAGAIN) return;
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) return accept_later();
        continue;  // that connection is gone already
      }
      add(std::move(socket));
    }
  }

  void add(UniqueFd socket) {
    auto connection = std::make_unique<ClientConnection>(context_, std::move(socket), [this](ClientConnection& gone) {
      const auto found = connections_.find(&gone);
      if (found == connections_.end()) return;
      context_.reactor.retire(std::move(found->second));
      connections_.erase(found);
      // The queue may hold connections that did not fit before.
      if (connections_.size() + 1 == most_) accept_later();
    });
    auto* key = connection.get();
    connections_.emplace(key, std::move(connection));
  }

  void accept_later() {
    if (accept_scheduled_) return;
    accept_scheduled_ = true;
    context_.reactor.after(kAcceptPause, [this] {
      accept_scheduled_ = false;
      accept_all();
    });
  }

  BrokerContext context_;
  UniqueFd socket_;
  std::size_t most_ = most_connections();
  bool accept_scheduled_ = false;
  std::map<ClientConnection*, std::unique_ptr<ClientConnection>> connections_;
};

Broker::Broker(net::Reactor& reactor, SessionState& session)
    : listener_(std::make_unique<Listener>(reactor, session)) {}
Broker::~Broker() = default;

const std::string& Broker::authority() const {
  return listener_->context().authority;
}

void Broker::enforce_withdrawals() {
  listener_->enforce_withdrawals();
}

bool Broker::holds_secret(std::string_view text) const {
  return listener_->context().needles.found_in(text);
}

}  // namespace agentvault::broker
