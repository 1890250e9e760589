// The forward stage: connections to upstreams, in verified TLS wherever a secret goes; kept for reuse by the same
// credential and token chain only.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "broker/refusal.hpp"
#include "http/body.hpp"
#include "http/head.hpp"
#include "net/network.hpp"

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

/// What an agent is told when an endpoint cannot be reached.
Refusal dial_refusal(const net::Endpoint& endpoint, const net::DialFailure& failure);

class UpstreamPool;

/// What must be known of a request to read its response.
struct UpstreamRequest {
  std::string method;
  bool websocket = false;  // a 101 is an answer, and everything behind it a body without end
};

class UpstreamConnection final : public net::Stream::Owner {
 public:
  UpstreamConnection(UpstreamPool& pool, std::string key, net::Endpoint endpoint);
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
  void begin(UpstreamUser& user, const UpstreamRequest& request);
  void ready();
  void dialled(std::unique_ptr<net::Stream> stream, const std::optional<net::DialFailure>& failure);
  void arm_timer();
  void fail(const Refusal& refusal);
  void read_head();
  void begin_body(const http::ResponseHead& head, const http::Framing& framing);
  void read_body(ByteView bytes);
  void complete();

  void on_data(ByteView bytes) override;
  void on_drained() override;
  void on_end() override;
  void on_failure(const std::string& reason) override;

  UpstreamPool& pool_;
  std::string key_;
  net::Endpoint endpoint_;
  std::unique_ptr<net::Dial> dial_;  // while it is being connected
  std::unique_ptr<net::Stream> stream_;
  UpstreamUser* user_ = nullptr;  // null: idle
  UpstreamRequest request_;
  bool upgraded_ = false;
  bool open_ = false;
  bool reused_ = false;
  bool written_ = false;  // of the current request
  int informational_ = 0;
  std::string in_;                           // an unfinished head
  std::unique_ptr<http::BodyDecoder> body_;  // null while the head is read
  bool keep_alive_ = false;
  net::Timer timer_;
  net::BootTime last_activity_{};
  net::Soon ready_soon_;
};

class UpstreamPool {
 public:
  explicit UpstreamPool(net::Network& network) : network_(network), reactor_(network.reactor()) {}

  /// An idle connection of this key, or a new one. The user must give it back with release().
  UpstreamConnection& acquire(const std::string& key, const net::Endpoint& endpoint, const UpstreamRequest& request,
                              UpstreamUser& user);
  bool has_idle(const std::string& key) const { return idle_.contains(key); }
  /// `reusable`: the response was read to its end and the request was sent to its end.
  void release(UpstreamConnection& connection, bool reusable);

 private:
  friend class UpstreamConnection;
  void drop(UpstreamConnection& connection);

  net::Network& network_;
  net::Reactor& reactor_;
  std::map<UpstreamConnection*, std::unique_ptr<UpstreamConnection>> all_;
  std::multimap<std::string, UpstreamConnection*> idle_;
};

}  // namespace agentvault::broker
