#include "session/publisher.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <functional>

#include "base/error.hpp"
#include "net/address.hpp"
#include "net/stream.hpp"

namespace agentvault::session {
namespace {

constexpr int kBacklog = 64;
constexpr std::size_t kMostBridges = 128;
constexpr std::size_t kMostWaiting = 16;
constexpr std::chrono::milliseconds kLinger{100};
constexpr int kMostLingers = 3000;  // 5 minutes

UniqueFd listen_at(std::uint16_t port) {
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const auto place = net::Address::loopback(port);
  const int on = 1;
  if (!socket || ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      ::bind(socket.get(), place.get(), place.size()) != 0 || ::listen(socket.get(), kBacklog) != 0) {
    throw_errno("publish port " + std::to_string(port), "another program may use it: choose another port");
  }
  return socket;
}

}  // namespace

/// Bytes both ways, no faster than the slower side reads.
class Publisher::Bridge {
 public:
  Bridge(net::Reactor& reactor, UniqueFd outside, UniqueFd inside, std::function<void(Bridge&)> gone)
      : sides_{{*this, reactor, std::move(outside)}, {*this, reactor, std::move(inside)}},
        gone_(std::move(gone)),
        checking_(reactor) {
    for (auto& side : sides_) side.start();
  }

 private:
  class Side final : public net::Stream::Owner {
   public:
    Side(Bridge& bridge, net::Reactor& reactor, UniqueFd socket)
        : bridge_(bridge), stream_(reactor, std::move(socket), *this) {}
    ~Side() override { stream_.detach(); }
    Side(const Side&) = delete;
    Side& operator=(const Side&) = delete;

    void start() { stream_.start(); }
    bool ended() const { return ended_; }
    bool sent() const { return stream_.everything_sent(); }

   private:
    Side& other() { return bridge_.sides_[this == &bridge_.sides_[0] ? 1 : 0]; }
    void on_data(ByteView bytes) override {
      other().stream_.write(bytes);
      if (other().stream_.above_high_water()) stream_.pause();
    }
    void on_drained() override {
      other().stream_.resume();
      bridge_.finish_when_sent();
    }
    void on_end() override {
      ended_ = true;
      other().stream_.finish_sending();
      bridge_.finish_when_sent();
    }
    void on_failure(const std::string&) override {
      // After its end there is nothing left to break: what it said is still on its way.
      if (ended_) return bridge_.finish_when_sent();
      other().stream_.reset_on_close();
      bridge_.finish();
    }
    Bridge& bridge_;
    net::Stream stream_;
    bool ended_ = false;
  };

  /// What one side said last is still on its way to the other.
  void finish_when_sent() {
    const auto done = [](const Side& side) { return side.ended() && side.sent(); };
    if (done(sides_[0]) && done(sides_[1])) return finish();
    if (!sides_[0].ended() || !sides_[1].ended() || checking_.is_set()) return;
    checking_.set(kLinger, [this] {
      if (++lingered_ > kMostLingers) return finish();
      finish_when_sent();
    });
  }
  void finish() {
    auto gone = std::move(gone_);
    gone_ = nullptr;
    if (gone) gone(*this);
  }

  Side sides_[2];
  std::function<void(Bridge&)> gone_;
  net::Timer checking_;
  int lingered_ = 0;
};

Publisher::Publisher(net::Reactor& reactor, sandbox::Cell& cell, const std::vector<std::uint16_t>& ports)
    : reactor_(reactor), cell_(cell) {
  for (const auto port : ports) {
    ports_.push_back(std::make_unique<net::Acceptor>(
        reactor_, listen_at(port), [this, port](UniqueFd connection) { arrived(std::move(connection), port); }));
  }
}

Publisher::~Publisher() = default;

void Publisher::arrived(UniqueFd outside, std::uint16_t port) {
  if (bridges_.size() >= kMostBridges || waiting_.size() >= kMostWaiting) return;  // closed
  cell_.ask_for_connection(port);
  waiting_.push_back(std::move(outside));
}

void Publisher::connected(UniqueFd inside) {
  if (waiting_.empty()) return;
  UniqueFd outside = std::move(waiting_.front());
  waiting_.pop_front();
  if (!inside) return;  // nobody listens: the connection ends
  bridges_.push_back(std::make_unique<Bridge>(reactor_, std::move(outside), std::move(inside), [this](Bridge& gone) {
    const auto found = std::find_if(bridges_.begin(), bridges_.end(), [&](const auto& b) { return b.get() == &gone; });
    if (found == bridges_.end()) return;
    reactor_.retire(std::move(*found));
    bridges_.erase(found);
  }));
}

}  // namespace agentvault::session
