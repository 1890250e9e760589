// One request that was allowed, and its response: inject, forward, scrub, settle.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "broker/context.hpp"
#include "broker/deadline.hpp"
#include "broker/request.hpp"
#include "budget/model_usage.hpp"
#include "http/content_decoder.hpp"
#include "scrub/websocket_scrubber.hpp"

namespace agentvault::broker {

/// The connection to the agent, as an exchange needs it.
class ExchangeClient {
 public:
  virtual ~ExchangeClient() = default;
  virtual void send(std::string_view bytes) = 0;
  virtual bool congested() const = 0;
  /// The upstream takes body bytes (again).
  virtual void body_wanted() = 0;
  /// The response is complete, or (refusal) there will be none. The exchange may be destroyed after this.
  virtual void exchange_complete(bool keep_alive) = 0;
  virtual void exchange_refused(const Refusal& refusal) = 0;
  /// The response was "101 Switching Protocols": bytes go both ways from here on.
  virtual void exchange_upgraded() = 0;
  /// The response broke off in the middle: nothing but cutting the connection tells the agent so.
  virtual void exchange_broken() = 0;
};

class Exchange final : public UpstreamUser {
 public:
  Exchange(BrokerContext& context, ExchangeClient& client, Request request);
  ~Exchange() override;
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  void start();
  const http::RequestHead& head() const { return request_.head; }

  /// Whether send_body() may be called now.
  bool wants_body() const { return ready_ && !upstream_->above_high_water(); }
  void send_body(ByteView bytes);
  void end_body(const http::Fields& trailers);

  void client_drained();
  /// The agent went away, or its body is malformed: nothing more is sent anywhere.
  void abandon(const std::string& why);
  /// Ends the exchange if its authority was withdrawn.
  void enforce_withdrawals();
  /// Ends the exchange if its decision could not be written: nothing of it was sent.
  void enforce_record();

 private:
  void refuse(const Refusal& refusal, const std::string& ended);
  void upstream_ready() override;
  void upstream_head(const http::ResponseHead& head, const http::Framing& framing) override;
  void upstream_body(ByteView bytes) override;
  void upstream_done(const http::Fields& trailers) override;
  void upstream_drained() override;
  void upstream_failed(const Refusal& refusal) override;

  bool worth_another_try() const;
  bool begin_decoding(const http::ResponseHead& head, const http::Framing& framing);
  void pass_on_head(const http::ResponseHead& head, const http::Framing& framing);
  void pass_on_upgrade(const http::ResponseHead& head);
  http::Fields scrubbed_fields(const http::Fields& fields);
  void malformed_body();
  bool clean(ByteView bytes, std::string& out);
  void emit(const std::string& clean);
  void settle(const std::string& ended);

  SessionState& session_;
  UpstreamPool& pool_;
  const policy::Egress& egress_;
  ExchangeClient& client_;
  Request request_;
  scrub::Scrubber scrubber_;
  std::uint64_t recorded_as_;                            // the last line of the log that decides about it
  std::unique_ptr<http::ContentDecoder> decoder_;        // null: identity
  std::unique_ptr<scrub::WebSocketScrubber> websocket_;  // after a 101
  std::optional<budget::UsageReader> usage_;             // of a model whose use is limited
  UpstreamConnection* upstream_ = nullptr;
  bool ready_ = false;
  bool tried_again_ = false;
  bool body_sent_ = false;  // some of it
  bool body_ended_ = false;
  bool head_passed_on_ = false;
  bool chunked_to_client_ = false;
  bool close_ends_body_ = false;
  bool settled_ = false;
  Deadline deadline_;
  int status_ = 0;
  std::uint64_t bytes_sent_ = 0;
  std::uint64_t bytes_received_ = 0;
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

}  // namespace agentvault::broker
