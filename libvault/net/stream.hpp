// A non-blocking byte stream on one socket, in clear or over TLS. Everything happens on the reactor's thread.
//
// Written bytes are queued and sent once per turn of the loop. Over TLS they are encrypted at once: a secret that is
// written never lies in a buffer of ours.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/bytes.hpp"
#include "base/secret_bytes.hpp"
#include "net/address.hpp"
#include "net/reactor.hpp"

struct ssl_st;
struct bio_st;

namespace agentvault::net {

class Stream final : public Watcher {
 public:
  /// Called from the reactor. An owner may destroy the stream inside any of them, through Reactor::retire().
  class Owner {
   public:
    virtual ~Owner() = default;
    /// The connection stands (and TLS is verified).
    virtual void on_open() {}
    /// Bytes arrived; the owner takes all of them.
    virtual void on_data(ByteView bytes) = 0;
    /// The queue has fallen below kLowWater after it had been above kHighWater.
    virtual void on_drained() {}
    /// No more bytes will come: the peer ended its side in order. Over TLS: with a close_notify.
    virtual void on_end() = 0;
    /// The connection failed; `reason` is for the log.
    virtual void on_failure(const std::string& reason) = 0;
  };

  static constexpr std::size_t kHighWater = 256 * 1024;
  static constexpr std::size_t kLowWater = 64 * 1024;

  /// An accepted connection, in clear. Call start() once the owner is ready.
  Stream(Reactor& reactor, UniqueFd socket, Owner& owner);
  /// Connects to `address`, in clear.
  Stream(Reactor& reactor, const Address& address, Owner& owner);
  ~Stream() override;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void start();
  /// From here on TLS, as the client or server that `tls` was set up to be; `tls` is owned. `received` is what has been
  /// read already. on_open() follows when the handshake is done.
  void begin_tls(ssl_st* tls, ByteView received);
  /// What a client named in its handshake, or "".
  std::string requested_host() const;
  /// Hands the stream over.
  void set_owner(Owner& owner) { owner_ = &owner; }

  /// Only once open; ignored after a failure, which the owner is told of, never from inside this call.
  void write(ByteView bytes);
  /// Bytes written but not yet with the kernel.
  std::size_t queued() const { return out_.size() - sent_ + waiting_.size(); }
  bool above_high_water() const { return queued() > kHighWater; }

  void pause();
  void resume();
  bool paused() const { return paused_; }

  /// Sends what is queued, then shuts down the sending side.
  void finish_sending();
  bool everything_sent() const { return queued() == 0; }

  /// The peer is to notice that this is no orderly end: its connection is reset when the stream is destroyed.
  void reset_on_close();

  /// What was written and not sent yet never will be, nor anything else; the owner is not told.
  void abandon() { phase_ = Phase::closed; }

  /// Nothing is called on the owner any more.
  void detach() {
    owner_ = nullptr;
    paused_ = true;
  }

 private:
  friend struct BufferBio;

  void on_ready(std::uint32_t events) override;
  void be_ready(std::uint32_t events);
  void guarded(const std::function<void()>& work);
  void opened();
  void pump();
  void read_clear();
  void read_tls();
  void note_short_read(ssize_t got);
  bool fill();
  ByteView ciphertext() const;
  void consume(std::size_t size);
  void keep_fresh();
  void handshake();
  void encrypt(ByteView bytes);
  void encrypt_waiting();
  void flush();
  void fail(const std::string& reason);
  void fail_soon(const std::string& reason);
  void report(const std::string& reason);
  void end();
  std::string tls_error() const;

  Reactor& reactor_;
  UniqueFd socket_;
  Owner* owner_;
  ssl_st* tls_ = nullptr;

  enum class Phase { connecting, handshaking, open, closed } phase_ = Phase::open;
  bool readable_ = false;
  bool writable_ = true;
  bool paused_ = false;
  bool was_above_ = false;
  bool finishing_ = false;
  bool socket_ended_ = false;  // the kernel said so; ciphertext may still be waiting
  bool read_ended_ = false;    // the owner was told
  bool end_seen_ = false;      // the kernel has more than bytes to tell: read until it does

  SecretBytes waiting_;   // clear text that TLS takes only when it has read more of a handshake message
  std::string out_;       // ciphertext, or clear text without TLS
  std::size_t sent_ = 0;  // how much of it the kernel has
  std::string in_;        // ciphertext not yet decrypted ...
  std::size_t in_used_ = 0;
  ByteView fresh_;       // ... and what came behind it, in the buffer of the last read: until the next one only
  std::string failure_;  // that the owner has not been told of yet
  Soon pump_{reactor_, [this] { guarded([this] { pump(); }); }};
  Soon flush_{reactor_, [this] { guarded([this] { flush(); }); }, true};
  Soon fail_{reactor_, [this] { guarded([this] { report(failure_); }); }};
};

}  // namespace agentvault::net
