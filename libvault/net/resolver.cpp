#include "net/resolver.hpp"

#include <ares.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include "base/error.hpp"
#include "base/log.hpp"

namespace agentvault::net {
namespace {

constexpr int kTryMilliseconds = 5000;
constexpr int kTries = 2;
constexpr std::size_t kMaxAddresses = 16;
constexpr std::chrono::milliseconds kTick{250};

struct Lookup {
  Reactor& reactor;
  Resolver::Answer answer;
  std::uint16_t port;
};

/// No exception may pass through the frames of c-ares: what is left without an answer has a time limit of its own.
void on_answer(void* argument, int status, int, ares_addrinfo* result) try {
  const std::unique_ptr<Lookup> lookup(static_cast<Lookup*>(argument));
  std::vector<Address> addresses;
  const ares_addrinfo_node* node = result != nullptr ? result->nodes : nullptr;
  for (; node != nullptr && addresses.size() < kMaxAddresses; node = node->ai_next) {
    auto address = Address::from(node->ai_addr, static_cast<socklen_t>(node->ai_addrlen));
    if (!address) continue;
    address->set_port(lookup->port);
    addresses.push_back(*address);
  }
  ares_freeaddrinfo(result);
  if (status == ARES_EDESTRUCTION) return;
  lookup->reactor.defer([answer = std::move(lookup->answer), addresses, status] {
    answer(addresses, addresses.empty() ? ares_strerror(status) : "");
  });
} catch (const std::exception& error) {
  log::debug(error.what());
}

std::int64_t configuration_time() {
  struct stat info {};
  return ::stat("/etc/resolv.conf", &info) == 0 ? info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec : 0;
}

}  // namespace

struct Resolver::Channel {
  explicit Channel(Reactor& loop) : reactor(loop), timer(loop) {
    static const bool ready = ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS;
    ares_options options{};
    options.timeout = kTryMilliseconds;
    options.tries = kTries;
    options.sock_state_cb = [](void* self, ares_socket_t socket, int read, int write) {
      static_cast<Channel*>(self)->watch(socket, read != 0, write != 0);
    };
    options.sock_state_cb_data = this;
    if (!ready || ares_init_options(&ares, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB) !=
                      ARES_SUCCESS) {
      throw Error(ErrorKind::failed, "cannot start the name resolver", "is /etc/resolv.conf readable?");
    }
  }
  ~Channel() { ares_destroy(ares); }
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  struct Socket final : Watcher {
    Socket(Channel& owner, int socket) : channel(owner), fd(socket) {}
    void on_ready(std::uint32_t) override { ares_process_fd(channel.ares, fd, fd); }
    Channel& channel;
    int fd;
  };

  /// A socket that the loop cannot watch is looked at with every tick.
  void watch(int fd, bool read, bool write) try {
    const auto found = sockets.find(fd);
    if (found != sockets.end()) {
      reactor.remove(fd, found->second.get());
      reactor.retire(std::move(found->second));
      sockets.erase(found);
    }
    if (!read && !write) return;
    auto& socket = sockets[fd] = std::make_unique<Socket>(*this, fd);
    tick();
    reactor.add(fd, (read ? EPOLLIN : 0U) | (write ? EPOLLOUT : 0U), socket.get());
  } catch (const std::exception& error) {
    log::debug(error.what());
  }

  /// c-ares counts its time-outs only when it is called.
  void tick() {
    if (timer.is_set()) return;
    timer.set(kTick, [this] {
      ares_process_fd(ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
      std::vector<int> all;  // an answer takes its socket away
      for (const auto& [fd, socket] : sockets) all.push_back(fd);
      for (const int fd : all) {
        if (sockets.contains(fd)) ares_process_fd(ares, fd, fd);
      }
      if (!sockets.empty()) tick();
    });
  }

  Reactor& reactor;
  ares_channel ares = nullptr;
  std::map<int, std::unique_ptr<Socket>> sockets;
  Timer timer;
};

Resolver::Resolver(Reactor& reactor) : reactor_(reactor) {}
Resolver::~Resolver() = default;

void Resolver::resolve(const std::string& host, std::uint16_t port, Answer answer) {
  auto literal = Address::parse_literal(host, port);
  if (!literal && host == "localhost") literal = Address::loopback(port);  // RFC 6761: never asked outside
  if (literal) {
    reactor_.defer([answer = std::move(answer), address = *literal] { answer({address}, ""); });
    return;
  }
  // A laptop changes its network while a session runs. Lookups that are under way keep their channel.
  const auto changed = configuration_time();
  if (!channel_ || (changed != configured_ && channel_->sockets.empty())) {
    channel_ = std::make_unique<Channel>(reactor_);
    configured_ = changed;
  }
  // Not from inside this call: a name in the hosts file is answered at once.
  reactor_.defer([this, host, port, answer = std::move(answer)] {
    ares_addrinfo_hints hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    ares_getaddrinfo(channel_->ares, host.c_str(), nullptr, &hints, on_answer, new Lookup{reactor_, answer, port});
  });
}

}  // namespace agentvault::net
