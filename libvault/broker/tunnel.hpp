// Bytes both ways between an agent and a host that no credential is bound to: nothing of it is read.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "broker/context.hpp"
#include "broker/deadline.hpp"
#include "broker/request.hpp"

namespace agentvault::broker {

/// The connection to the agent, as a tunnel needs it.
class TunnelClient {
 public:
  virtual ~TunnelClient() = default;
  virtual void tunnel_open() = 0;
  virtual void tunnel_refused(const Refusal& refusal) = 0;
  virtual void send(std::string_view bytes) = 0;
  virtual bool congested() const = 0;
  /// The host has nothing more to say.
  virtual void tunnel_ended() = 0;
  /// Nothing more goes through, either way.
  virtual void tunnel_broken() = 0;
  /// The host takes bytes again.
  virtual void body_wanted() = 0;
};

class Tunnel final : public net::Stream::Owner {
 public:
  Tunnel(BrokerContext& context, TunnelClient& client, Request request);
  ~Tunnel() override;
  Tunnel(const Tunnel&) = delete;
  Tunnel& operator=(const Tunnel&) = delete;

  bool wants_bytes() const { return stream_ && !stream_->above_high_water(); }
  void send(ByteView bytes);
  void end_sending();
  void client_drained();
  void enforce_withdrawals();
  /// Nothing more will be passed on; `why` is for the log.
  void abandon(const std::string& why) { settle(host_ended_ ? "complete" : why); }

 private:
  void dialled(std::unique_ptr<net::Stream> stream, const std::string& early,
               const std::optional<net::DialFailure>& failure);
  void stop(const std::string& why);
  void settle(const std::string& ended);

  void on_data(ByteView bytes) override;
  void on_drained() override;
  void on_end() override;
  void on_failure(const std::string& reason) override;

  BrokerContext& context_;
  TunnelClient& client_;
  Request request_;
  std::unique_ptr<net::Dial> dial_;
  std::unique_ptr<net::Stream> stream_;
  Deadline deadline_;
  bool host_ended_ = false;
  bool agent_ended_ = false;
  bool settled_ = false;
  std::uint64_t bytes_sent_ = 0;
  std::uint64_t bytes_received_ = 0;
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

}  // namespace agentvault::broker
