#include "net/acceptor.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/log.hpp"

namespace agentvault::net {
namespace {

constexpr int kMostAtOnce = 64;  // then others of the loop have their turn
constexpr std::chrono::milliseconds kPause{100};

}  // namespace

Acceptor::Acceptor(Reactor& reactor, UniqueFd socket, Take take, HasRoom has_room, Turn turn)
    : reactor_(reactor),
      socket_(std::move(socket)),
      take_(std::move(take)),
      has_room_(std::move(has_room)),
      turn_(turn),
      pause_(reactor) {
  reactor_.add(socket_.get(), EPOLLIN, this);
}

Acceptor::~Acceptor() {
  reactor_.remove(socket_.get(), this);
}

void Acceptor::accept_waiting() {
  for (int turn = 0; !has_room_ || has_room_(*this); ++turn) {
    if (turn == kMostAtOnce) return again_in(std::chrono::milliseconds(0));
    UniqueFd connection(::accept4(socket_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!connection && errno == EAGAIN) return;
    if (!connection) {
      // One that is gone already, or none can be taken now. The event came once: nothing will tell again.
      if (errno != ECONNABORTED && errno != EINTR) return again_in(kPause);
      continue;
    }
    try {
      take_(std::move(connection));
    } catch (const std::exception& error) {
      log::warning(std::string("a connection was not taken: ") + error.what());
    }
  }
}

bool Acceptor::somebody_waits() const {
  pollfd queue{socket_.get(), POLLIN, 0};
  return ::poll(&queue, 1, 0) > 0;
}

void Acceptor::again_in(std::chrono::milliseconds pause) {
  pause_.set(pause, [this] { accept_waiting(); });
}

}  // namespace agentvault::net
