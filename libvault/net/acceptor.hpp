// Takes the connections that arrive at a listening socket.
#pragma once

#include <functional>

#include "net/reactor.hpp"

namespace agentvault::net {

class Acceptor final : public Watcher {
 public:
  using Take = std::function<void(UniqueFd socket)>;
  /// Whether another connection may be taken; those that wait stay in the socket's queue meanwhile.
  using HasRoom = std::function<bool(const Acceptor&)>;

  enum class Turn { usual, urgent };  // as Watcher::urgent

  /// `socket` is listening and does not block. Exceptions of `take` cost that one connection.
  Acceptor(Reactor& reactor, UniqueFd socket, Take take, HasRoom has_room = {}, Turn turn = Turn::usual);
  ~Acceptor() override;
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  /// Those that wait. To be called when there is room again: nothing else tells of them.
  void accept_waiting();
  bool somebody_waits() const;

 private:
  void on_ready(std::uint32_t) override { accept_waiting(); }
  bool urgent() const override { return turn_ == Turn::urgent; }
  void again_in(std::chrono::milliseconds pause);

  Reactor& reactor_;
  UniqueFd socket_;
  Take take_;
  HasRoom has_room_;
  Turn turn_;
  Timer pause_;
};

}  // namespace agentvault::net
