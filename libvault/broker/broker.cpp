#include "broker/broker.hpp"

#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>
#include <vector>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "broker/client_connection.hpp"
#include "broker/stages.hpp"
#include "net/acceptor.hpp"
#include "net/address.hpp"
#include "net/name_stub.hpp"
#include "net/peer.hpp"

namespace agentvault::broker {
namespace {

constexpr std::size_t kMaxConnections = 1024;
constexpr std::size_t kSubAgentsPart = 4;         // of these, one sub-agent may have a quarter under way
constexpr std::size_t kReservedDescriptors = 64;  // for the control socket, the log, and whatever a library opens
constexpr int kBacklog = 256;
constexpr std::chrono::milliseconds kAcceptPause{100};
constexpr std::chrono::seconds kClockPause{10};  // what is under way outlives its hours by so much at most

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

UniqueFd listen_on_loopback() {
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const net::Address any_port = net::Address::loopback(0);
  if (!socket || ::bind(socket.get(), any_port.get(), any_port.size()) != 0 || ::listen(socket.get(), kBacklog) != 0) {
    throw_errno("listen on 127.0.0.1");
  }
  return socket;
}

std::optional<net::Address> name_of(int socket, int (*ask)(int, sockaddr*, socklen_t*)) {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  if (ask(socket, reinterpret_cast<sockaddr*>(&name), &size) != 0) return std::nullopt;
  return net::Address::from(reinterpret_cast<sockaddr*>(&name), size);
}

std::uint16_t port_of(const UniqueFd& socket) {
  const auto own = name_of(socket.get(), ::getsockname);
  if (!own) throw_errno("ask for a port");
  return own->port();
}

/// Where a connection was meant to go before it was led here.
std::optional<net::Address> original_destination(int socket) {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  const bool redirected = ::getsockopt(socket, SOL_IP, SO_ORIGINAL_DST, &name, &size) == 0;
  return redirected ? net::Address::from(reinterpret_cast<sockaddr*>(&name), size) : name_of(socket, ::getsockname);
}

/// Root is trusted, and every process of the session's user belongs to it; nobody else of the machine does. Where the
/// kernel does not tell, a token must do.
bool is_of_this_user(int socket, bool needs_no_token) {
  const auto owner = net::owner_of_peer(socket);
  if (!owner || !owner->held) return !needs_no_token;
  return (owner->user == ::geteuid() || owner->user == 0);
}

/// The local ports of connections that are about to be made.
class Announcements {
 public:
  explicit Announcements(UniqueFd source) : source_(std::move(source)) {}
  /// Each counts once.
  bool take(int socket) {
    std::uint8_t port[2];
    while (::read(source_.get(), port, sizeof port) == static_cast<ssize_t>(sizeof port)) {
      ports_.insert(static_cast<std::uint16_t>(read_big_endian(port)));
    }
    const auto peer = name_of(socket, ::getpeername);
    return peer && ports_.erase(peer->port()) > 0;
  }

 private:
  UniqueFd source_;  // a pipe: what is written at once is read at once
  std::set<std::uint16_t> ports_;
};

}  // namespace

Entrances Entrances::on_loopback() {
  Entrances entrances;
  entrances.main = listen_on_loopback();
  entrances.tokenless = listen_on_loopback();
  return entrances;
}

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
                 Approvals(reactor),
                 Shares(most_connections() / kSubAgentsPart),
                 {},
                 {},
                 {}},
        implied_(session.verify(token::encode(options.implied_token))),
        guests_(options.entrances.guests),
        announcements_(std::move(options.entrances.announcements)),
        names_(reactor, std::move(options.entrances.names),
               [this](const std::string& name) { return is_known(name); }) {
    for (std::size_t i = 0; i < session.grants().size(); ++i) context_.needles.add(i, session.grants()[i].secret);
    auto& entrances = options.entrances;
    context_.authority = "127.0.0.1:" + std::to_string(port_of(entrances.main));
    tokenless_port_ = port_of(entrances.tokenless);
    open(std::move(entrances.main), Standing::with_token);
    open(std::move(entrances.tokenless), Standing::tokenless);
    for (auto& socket : entrances.diverted) open(std::move(socket), Standing::diverted);
    for (auto& reached : entrances.reached)
      open(std::move(reached.socket), Standing::diverted, std::move(reached.target));
    watch_the_clock();
    reactor.before_sending([this] { commit_log(); });
  }

  ~Server() {
    end();
    context_.reactor.before_sending(nullptr);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  const BrokerContext& context() const { return context_; }
  Approvals& approvals() { return context_.approvals; }
  void set_egress(policy::Egress egress) { context_.egress = std::move(egress); }
  std::uint16_t tokenless_port() const { return tokenless_port_; }

  void enforce_withdrawals() {
    for_each_connection([](ClientConnection& connection) { connection.enforce_withdrawals(); });
    watch_the_clock();  // the policy may be another one
  }
  void end() {
    acceptors_.clear();
    for_each_connection([](ClientConnection& connection) { connection.end("the session ended"); });
    context_.reactor.destroy_retired();  // they refer to this
  }

 private:
  /// Ending one takes it out of the map.
  void for_each_connection(const std::function<void(ClientConnection&)>& work) {
    std::vector<ClientConnection*> all;
    for (const auto& [key, guest] : connections_) all.push_back(key);
    for (auto* connection : all) {
      if (connections_.contains(connection)) work(*connection);
    }
  }

  /// What was decided in this turn of the loop is in the log before any of it goes out.
  void commit_log() {
    auto& segment = context_.session.segment();
    if (segment.committed() == segment.appended()) return;
    // It may have been tried before in this turn, for a new connection.
    if (!segment.broken() && !commit_record(context_.session)) return;
    for_each_connection([](ClientConnection& connection) { connection.enforce_record(); });
  }

  void watch_the_clock() {
    if (!context_.session.follows_the_clock()) return clock_.cancel();
    clock_.set(kClockPause, [this] { enforce_withdrawals(); });
  }

  enum class Standing { with_token, tokenless, diverted };

  void open(UniqueFd socket, Standing standing, std::optional<net::Endpoint> target = std::nullopt) {
    acceptors_.push_back(std::make_unique<net::Acceptor>(
        context_.reactor, std::move(socket),
        [this, standing, target = std::move(target)](UniqueFd connection) {
          if (is_guest(connection.get(), standing)) add(std::move(connection), standing, target);
        },
        [this](const net::Acceptor& acceptor) { return has_room() || (acceptor.somebody_waits() && make_room()); }));
  }

  bool is_guest(int socket, Standing standing) {
    switch (guests_) {
      case Entrances::Guests::this_user:
        return is_of_this_user(socket, standing != Standing::with_token);
      case Entrances::Guests::this_namespace:
        return true;
      case Entrances::Guests::announced:
        return announcements_.take(socket);
    }
    return false;
  }

  /// Names that an agent may come with: everything else does not exist for it.
  bool is_known(const std::string& name) const {
    const auto& grants = context_.session.grants();
    return context_.egress.names_host(name) || std::any_of(grants.begin(), grants.end(), [&](const auto& grant) {
             return grant.binding.origin.host == name;
           });
  }

  /// What a connection that was led here is for. A name, if it was looked up by name.
  std::optional<net::Endpoint> destination_of(int socket) const {
    const auto address = original_destination(socket);
    if (!address) return std::nullopt;
    return net::Endpoint{names_.name_of(*address).value_or(address->text()), address->port(), false, "", false};
  }

  bool has_room() const { return connections_.size() < most_; }

  /// The oldest connection on which nothing is under way goes; else the oldest of those that have not sent all of a
  /// request. Whoever opens connections and leaves them shuts nobody out.
  bool make_room() {
    for (const auto usefulness : {ClientConnection::Usefulness::idle, ClientConnection::Usefulness::unfinished}) {
      ClientConnection* oldest = nullptr;
      std::uint64_t number = 0;
      for (const auto& [key, guest] : connections_) {
        if (key->usefulness() != usefulness || (oldest != nullptr && guest.number > number)) continue;
        oldest = key;
        number = guest.number;
      }
      if (oldest == nullptr) continue;
      oldest->end("made room for another connection");
      return connections_.size() < most_;
    }
    return false;
  }

  void add(UniqueFd socket, Standing standing, std::optional<net::Endpoint> target) {
    if (standing == Standing::diverted && !target) {
      target = destination_of(socket.get());
      if (!target) return;
    }
    const TokenRef implied = standing == Standing::with_token ? nullptr : implied_;
    auto connection = std::make_unique<ClientConnection>(context_, std::move(socket), implied, std::move(target),
                                                         [this](ClientConnection& gone) {
                                                           const auto found = connections_.find(&gone);
                                                           if (found == connections_.end()) return;
                                                           context_.reactor.retire(std::move(found->second.connection));
                                                           connections_.erase(found);
                                                           // The queues may hold connections that did not fit before.
                                                           if (connections_.size() + 1 == most_) accept_waiting_soon();
                                                         });
    auto* key = connection.get();
    connections_.emplace(key, Guest{std::move(connection), ++guests_so_far_});
  }

  void accept_waiting_soon() {
    if (accepting_.is_set()) return;
    accepting_.set(kAcceptPause, [this] {
      for (const auto& acceptor : acceptors_) acceptor->accept_waiting();
    });
  }

  BrokerContext context_;
  TokenRef implied_;
  std::size_t most_ = most_connections();
  struct Guest {
    std::unique_ptr<ClientConnection> connection;
    std::uint64_t number;  // in the order of coming
  };
  std::map<ClientConnection*, Guest> connections_;
  std::uint64_t guests_so_far_ = 0;
  Entrances::Guests guests_;
  Announcements announcements_;
  net::NameStub names_;
  std::uint16_t tokenless_port_ = 0;
  net::Timer accepting_{context_.reactor};
  net::Timer clock_{context_.reactor};
  std::vector<std::unique_ptr<net::Acceptor>> acceptors_;
};

Broker::Broker(net::Reactor& reactor, SessionState& session, net::SessionCa& ca, BrokerOptions options)
    : server_(std::make_unique<Server>(reactor, session, ca, std::move(options))) {}
Broker::~Broker() = default;

const std::string& Broker::authority() const {
  return server_->context().authority;
}

std::uint16_t Broker::port() const {
  return net::parse_authority(authority())->port.value_or(0);
}

std::uint16_t Broker::tokenless_proxy_port() const {
  return server_->tokenless_port();
}

void Broker::enforce_withdrawals() {
  server_->enforce_withdrawals();
}

void Broker::end() {
  server_->end();
}

Approvals& Broker::approvals() {
  return server_->approvals();
}

void Broker::set_egress(policy::Egress egress) {
  server_->set_egress(std::move(egress));
}

bool Broker::holds_secret(std::string_view text) const {
  return server_->context().needles.found_in(text);
}

}  // namespace agentvault::broker
