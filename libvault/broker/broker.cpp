#include "broker/broker.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <map>

#include "base/error.hpp"
#include "base/log.hpp"
#include "broker/client_connection.hpp"
#include "net/address.hpp"

namespace agentvault::broker {
namespace {

constexpr std::size_t kMaxConnections = 1024;
constexpr int kBacklog = 256;
constexpr std::chrono::milliseconds kAcceptPause{100};

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

 private:
  void on_ready(std::uint32_t) override { accept_all(); }

  void accept_all() {
    while (connections_.size() < kMaxConnections) {
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
      if (connections_.size() + 1 == kMaxConnections) accept_later();
    });
    auto* key = connection.get();
    connections_.emplace(key, std::move(connection));
  }

  void accept_later() {
    context_.reactor.after(kAcceptPause, [this] { accept_all(); });
  }

  BrokerContext context_;
  UniqueFd socket_;
  std::map<ClientConnection*, std::unique_ptr<ClientConnection>> connections_;
};

Broker::Broker(net::Reactor& reactor, SessionState& session)
    : listener_(std::make_unique<Listener>(reactor, session)) {}
Broker::~Broker() = default;

const std::string& Broker::authority() const {
  return listener_->context().authority;
}

bool Broker::holds_secret(std::string_view text) const {
  return listener_->context().needles.found_in(text);
}

}  // namespace agentvault::broker
