#include "net/stream.hpp"

#include <netinet/tcp.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/secret_bytes.hpp"
#include "net/session_ca.hpp"
#include "net/tls.hpp"

namespace agentvault::net {
namespace {

constexpr std::uint32_t kEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP;
constexpr std::size_t kReadSize = 64 * 1024;
constexpr int kReadsPerTurn = 8;  // then others have theirs

void no_delay(int socket) {
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

std::string errno_text(int code) {
  return std::generic_category().message(code);
}

// One thread, one loop: a single buffer serves every read.
std::array<char, kReadSize> read_buffer;

}  // namespace

/// OpenSSL reads from and writes to the stream's own buffers, so that the socket is touched once per event.
struct BufferBio {
  static int read(BIO* bio, char* space, int size) {
    auto& stream = *static_cast<Stream*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    const ByteView have = stream.ciphertext();
    if (have.empty()) {
      if (stream.socket_ended_) return 0;
      BIO_set_retry_read(bio);
      return -1;
    }
    const std::size_t take = std::min(have.size(), static_cast<std::size_t>(size));
    std::memcpy(space, have.data(), take);
    stream.consume(take);
    return static_cast<int>(take);
  }

  static int write(BIO* bio, const char* bytes, int size) {
    auto& stream = *static_cast<Stream*>(BIO_get_data(bio));
    stream.out_.append(bytes, static_cast<std::size_t>(size));
    stream.flush_.ask();
    return size;
  }

  static long control(BIO* bio, int command, long, void*) {
    auto& stream = *static_cast<Stream*>(BIO_get_data(bio));
    if (command == BIO_CTRL_EOF) return stream.socket_ended_ && stream.ciphertext().empty() ? 1 : 0;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
  }

  static BIO* make(Stream& stream) {
    static BIO_METHOD* method = [] {
      BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "agentvault stream");
      BIO_meth_set_read(made, read);
      BIO_meth_set_write(made, write);
      BIO_meth_set_ctrl(made, control);
      return made;
    }();
    BIO* bio = BIO_new(method);
    BIO_set_data(bio, &stream);
    BIO_set_init(bio, 1);
    return bio;
  }
};

Stream::Stream(Reactor& reactor, UniqueFd socket, Owner& owner)
    : reactor_(reactor), socket_(std::move(socket)), owner_(&owner) {
  no_delay(socket_.get());
}

Stream::Stream(Reactor& reactor, const Address& address, Owner& owner)
    : reactor_(reactor),
      socket_(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)),
      owner_(&owner),
      phase_(Phase::connecting) {
  if (!socket_) throw_errno("open a socket");
  no_delay(socket_.get());
  writable_ = false;
  if (::connect(socket_.get(), address.get(), address.size()) != 0 && errno != EINPROGRESS) {
    // Told through the loop like every other failure, so that owners need one path.
    fail_soon("connect: " + errno_text(errno));
    return;
  }
  start();
}

Stream::~Stream() {
  if (socket_) reactor_.remove(socket_.get(), this);
  SSL_free(tls_);
}

void Stream::start() {
  reactor_.add(socket_.get(), kEvents, this);
}

void Stream::begin_tls(ssl_st* tls, ByteView received) {
  if (tls_ != nullptr) {
    SSL_free(tls);
    return fail_soon("TLS inside TLS");
  }
  tls_ = tls;
  BIO* bio = BufferBio::make(*this);
  SSL_set_bio(tls_, bio, bio);
  in_.assign(as_text(received));
  phase_ = Phase::handshaking;
  resume();  // later: the caller is inside a callback of this stream
}

std::string Stream::requested_host() const {
  return tls_ != nullptr ? net::requested_host(tls_) : "";
}

/// An exception of the owner's ends this connection.
void Stream::guarded(const std::function<void()>& work) {
  try {
    work();
  } catch (const std::exception& error) {
    log::warning(std::string("a connection was dropped: ") + error.what());
    fail(error.what());
  }
}

void Stream::on_ready(std::uint32_t events) {
  guarded([this, events] { be_ready(events); });
}

void Stream::be_ready(std::uint32_t events) {
  if (phase_ == Phase::connecting) {
    int code = 0;
    socklen_t size = sizeof code;
    ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &code, &size);
    if (code != 0) return fail("connect: " + errno_text(code));
    if ((events & EPOLLOUT) == 0) return;
    phase_ = Phase::open;
    writable_ = true;
    opened();
  }
  if ((events & EPOLLOUT) != 0) {
    writable_ = true;
    if (queued() > 0 || was_above_) flush_.ask();
  }
  if (read_ended_ && (events & (EPOLLHUP | EPOLLERR)) != 0) return fail("the connection was cut");
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) end_seen_ = true;
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
    readable_ = true;
    pump();
  }
}

void Stream::opened() {
  if (owner_ != nullptr) owner_->on_open();
}

void Stream::pump() {
  if (phase_ == Phase::closed || phase_ == Phase::connecting) return;
  if (tls_ == nullptr) return read_clear();
  read_tls();
  keep_fresh();
}

void Stream::read_clear() {
  for (int turn = 0; readable_ && !paused_ && !read_ended_ && phase_ == Phase::open; ++turn) {
    if (turn == kReadsPerTurn) return resume();
    const ssize_t got = ::recv(socket_.get(), read_buffer.data(), read_buffer.size(), 0);
    if (got > 0) {
      note_short_read(got);
      if (owner_ != nullptr)
        owner_->on_data({reinterpret_cast<std::uint8_t*>(read_buffer.data()), static_cast<std::size_t>(got)});
    } else if (got == 0) {
      return end();
    } else if (errno == EAGAIN) {
      readable_ = false;
    } else if (errno != EINTR) {
      return fail(errno_text(errno));
    }
  }
}

/// Less than there was room for: there is no more now, and the next event will tell of more (epoll(7), for streams).
void Stream::note_short_read(ssize_t got) {
  if (static_cast<std::size_t>(got) < read_buffer.size() && !end_seen_) readable_ = false;
}

ByteView Stream::ciphertext() const {
  return in_.empty() ? fresh_ : as_bytes(std::string_view(in_)).subspan(in_used_);
}

void Stream::consume(std::size_t size) {
  if (in_.empty()) {
    fresh_ = fresh_.subspan(size);
    return;
  }
  in_used_ += size;
  if (in_used_ < in_.size()) return;
  in_.clear();
  in_used_ = 0;
}

/// Others are about to read into the same buffer.
void Stream::keep_fresh() {
  in_.append(as_text(fresh_));
  fresh_ = {};
}

/// One recv of ciphertext; whether anything may have changed.
bool Stream::fill() {
  if (!readable_ || socket_ended_) return false;
  keep_fresh();
  const ssize_t got = ::recv(socket_.get(), read_buffer.data(), read_buffer.size(), 0);
  if (got > 0) {
    note_short_read(got);
    fresh_ = as_bytes(std::string_view(read_buffer.data(), static_cast<std::size_t>(got)));
  } else if (got == 0) {
    socket_ended_ = true;
  } else if (errno == EAGAIN) {
    readable_ = false;
    return false;
  } else if (errno != EINTR) {
    socket_ended_ = true;
  }
  return true;
}

void Stream::handshake() {
  for (;;) {
    ERR_clear_error();
    const int result = SSL_do_handshake(tls_);
    if (result == 1) {
      phase_ = Phase::open;
      return opened();
    }
    if (SSL_get_error(tls_, result) != SSL_ERROR_WANT_READ) {
      const std::string why = tls_error();
      flush();  // the alert, so that the peer can say why
      return fail(why);
    }
    if (!fill()) return;
  }
}

void Stream::read_tls() {
  if (phase_ == Phase::handshaking) {
    handshake();
    if (phase_ != Phase::open) return;
  }
  std::array<std::uint8_t, 16 * 1024> record;
  for (int turn = 0; !paused_ && !read_ended_ && phase_ == Phase::open; ++turn) {
    if (turn == 8 * kReadsPerTurn) return resume();
    ERR_clear_error();
    std::size_t got = 0;
    if (SSL_read_ex(tls_, record.data(), record.size(), &got) == 1) {
      if (owner_ != nullptr) owner_->on_data({record.data(), got});
      wipe(std::span(record).first(got));
      continue;
    }
    const int error = SSL_get_error(tls_, 0);
    if (error == SSL_ERROR_WANT_READ) encrypt_waiting();
    if (error == SSL_ERROR_ZERO_RETURN) return end();
    if (error != SSL_ERROR_WANT_READ) return fail(tls_error());
    if (!fill()) return;
  }
}

std::string Stream::tls_error() const {
  if (const auto why = verification_failure(tls_)) return "certificate not accepted: " + *why;
  if (socket_ended_) return "the connection was cut";
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  return std::string("TLS: ") + (reason != nullptr ? reason : "failed");
}

void Stream::write(ByteView bytes) {
  if (bytes.empty() || phase_ != Phase::open) return;
  if (tls_ != nullptr) {
    encrypt(bytes);
  } else {
    out_.append(as_text(bytes));
    flush_.ask();
  }
  was_above_ = was_above_ || above_high_water();
}

/// Between two records of a handshake message that came behind the handshake (a session ticket, a new key), TLS takes
/// no clear text: what is to be written waits, in memory for secrets.
void Stream::encrypt(ByteView bytes) {
  while (!bytes.empty() && waiting_.empty()) {
    std::size_t written = 0;
    ERR_clear_error();
    const int result = SSL_write_ex(tls_, bytes.data(), bytes.size(), &written);
    if (result == 1) {
      bytes = bytes.subspan(written);
      continue;
    }
    if (SSL_get_error(tls_, result) != SSL_ERROR_WANT_READ) return fail_soon(tls_error());
    break;
  }
  if (bytes.empty()) return;
  try {
    waiting_.append(bytes);
  } catch (const Error& error) {
    fail_soon(error.what());
  }
}

void Stream::encrypt_waiting() {
  if (waiting_.empty() || phase_ != Phase::open) return;
  const SecretBytes bytes = std::move(waiting_);
  encrypt(bytes.reveal());
  if (!finishing_ || !waiting_.empty() || phase_ != Phase::open) return;
  SSL_shutdown(tls_);
  flush_.ask();
}

void Stream::flush() {
  while (writable_ && sent_ < out_.size() && phase_ != Phase::closed && phase_ != Phase::connecting) {
    const ssize_t sent = ::send(socket_.get(), out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL);
    if (sent > 0) {
      sent_ += static_cast<std::size_t>(sent);
    } else if (errno == EAGAIN) {
      writable_ = false;
    } else if (errno != EINTR) {
      return fail(errno_text(errno));
    }
  }
  if (sent_ == out_.size()) {
    out_.clear();
    sent_ = 0;
    if (out_.capacity() > kHighWater) out_.shrink_to_fit();
    if (finishing_ && phase_ == Phase::open && waiting_.empty()) ::shutdown(socket_.get(), SHUT_WR);
  }
  if (was_above_ && queued() < kLowWater) {
    was_above_ = false;
    if (owner_ != nullptr) owner_->on_drained();
  }
}

void Stream::pause() {
  paused_ = true;
}

/// Later, not now: the caller is often inside a callback of another stream.
void Stream::resume() {
  paused_ = false;
  pump_.ask();
}

void Stream::finish_sending() {
  if (finishing_) return;
  finishing_ = true;
  if (tls_ != nullptr && phase_ == Phase::open && waiting_.empty()) SSL_shutdown(tls_);
  flush_.ask();
}

void Stream::reset_on_close() {
  const linger at_once{1, 0};
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

/// From now on nothing is written; the owner learns of it from the loop.
void Stream::fail_soon(const std::string& reason) {
  if (phase_ == Phase::closed) return;
  phase_ = Phase::closed;
  failure_ = reason;
  fail_.ask();
}

void Stream::fail(const std::string& reason) {
  if (phase_ == Phase::closed) return;
  phase_ = Phase::closed;
  fresh_ = {};
  report(reason);
}

void Stream::report(const std::string& reason) {
  if (owner_ != nullptr) owner_->on_failure(reason);
}

void Stream::end() {
  // The other direction may go on: a client may have said all it has to say and wait for the answer.
  read_ended_ = true;
  if (owner_ != nullptr) owner_->on_end();
}

}  // namespace agentvault::net
