// The forward stage: verified TLS connections to upstreams, kept for reuse by the same credential and token chain only.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <string>

#include "broker/refusal.hpp"
#include "http/body.hpp"
#include "http/head.hpp"
#include "net/resolver.hpp"
#include "net/stream.hpp"
#include "net/tls.hpp"
#include "provider/binding.hpp"

namespace agentvault::broker {

/// Whoever has a request on an upstream connection. All calls come from the reactor, none from inside acquire().
class UpstreamUser {
 public:
  virtual ~UpstreamUser() = default;
  /// The connection stands and was verified: write the head now.
  virtual void upstream_ready() = 0;
  virtual void upstream_head(const http::ResponseHead& head, const http::Framing& framing) = 0;
  virtual void upstream_body(ByteView bytes) = 0;
  virtual void upstream_done(const http::Fields& trailers) = 0;
  virtual void upstream_drained() = 0;
  /// Nothing more will come. `refusal` is what the agent may be told.
  virtual void upstream_failed(const Refusal& refusal) = 0;
};

class UpstreamPool;

class UpstreamConnection final : public net::Stream::Owner {
 public:
  UpstreamConnection(UpstreamPool& pool, std::string key, const provider::Binding& binding);
  ~UpstreamConnection() override;
  UpstreamConnection(const UpstreamConnection&) = delete;
  UpstreamConnection& operator=(const UpstreamConnection&) = delete;

  void write(ByteView bytes) {
    written_ = true;
    last_activity_ = net::boot_time();
    stream_->write(bytes);
  }
  bool above_high_water() const { return stream_->above_high_water(); }
  void pause() { stream_->pause(); }
  void resume() { stream_->resume(); }
  const std::string& key() const { return key_; }
  bool reused() const { return reused_; }

 private:
  friend class UpstreamPool;
  void begin(UpstreamUser& user, const std::string& method);
  void connect();
  void try_next_address(const std::string& last_error);
  void arm_timer();
  void fail(const Refusal& refusal);
  void read_head();
  void read_body(ByteView bytes);
  void complete();

  void on_open() override;
  void on_data(ByteView bytes) override;
  void on_drained() override;
  void on_end() override;
  void on_failure(const std::string& reason) override;

  UpstreamPool& pool_;
  std::string key_;
  net::Origin origin_;
  std::string ca_pem_;
  std::vector<net::Address> addresses_;
  std::unique_ptr<net::Stream> stream_;
  UpstreamUser* user_ = nullptr;  // null: idle
  std::string method_;
  bool open_ = false;
  bool reused_ = false;
  bool written_ = false;  // of the current request
  int informational_ = 0;
  std::string in_;                           // an unfinished head
  std::unique_ptr<http::BodyDecoder> body_;  // null while the head is read
  bool keep_alive_ = false;
  net::Reactor::TimerId timer_{};
  bool timer_armed_ = false;
  net::BootTime last_activity_{};
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

class UpstreamPool {
 public:
  explicit UpstreamPool(net::Reactor& reactor) : reactor_(reactor), resolver_(reactor) {}

  /// An idle connection of this key, or a new one. The user must give it back with release().
  UpstreamConnection& acquire(const std::string& key, const provider::Binding& binding, const std::string& method,
                              UpstreamUser& user);
  /// `reusable`: the response was read to its end and the request was sent to its end.
  void release(UpstreamConnection& connection, bool reusable);

 private:
  friend class UpstreamConnection;
  net::TlsClient& tls_for(const std::string& ca_pem);
  void drop(UpstreamConnection& connection);

  net::Reactor& reactor_;
  net::Resolver resolver_;
  std::map<std::string, std::unique_ptr<net::TlsClient>> tls_;  // by CA
  std::map<UpstreamConnection*, std::unique_ptr<UpstreamConnection>> all_;
  std::multimap<std::string, UpstreamConnection*> idle_;
};

}  // namespace agentvault::broker
