// One connection of an agent: parses its requests one after the other, runs them through the stages, answers what the
// broker refuses, and hands what is allowed to an Exchange.
#pragma once

#include <memory>
#include <string>

#include "broker/exchange.hpp"
#include "broker/refusal.hpp"
#include "http/body.hpp"
#include "net/stream.hpp"

namespace agentvault::broker {

/// What all connections of a broker share.
struct BrokerContext {
  net::Reactor& reactor;
  SessionState& session;
  UpstreamPool pool;
  Needles needles;
  std::string authority;  // "127.0.0.1:PORT"
};

class ClientConnection final : public net::Stream::Owner, public ExchangeClient {
 public:
  /// `gone` is called once, when the connection has ended; the object may be retired then.
  ClientConnection(BrokerContext& context, UniqueFd socket, std::function<void(ClientConnection&)> gone);
  ~ClientConnection() override;
  ClientConnection(const ClientConnection&) = delete;
  ClientConnection& operator=(const ClientConnection&) = delete;

  /// Ends what is under way if its authority was withdrawn.
  void enforce_withdrawals() {
    if (exchange_) exchange_->enforce_withdrawals();
  }

 private:
  enum class State { head, exchange, discarding, closing };

  void process();
  void process_input();
  void process_soon();
  bool read_head();
  bool read_body();
  bool discard_body();
  void begin_request(http::RequestHead head);
  void refuse(const Refusal& refusal, bool keep_alive);
  void next_request(bool keep_alive);
  void close_after_sending();
  void close_now();
  void arm_timer();

  void on_data(ByteView bytes) override;
  void on_drained() override;
  void on_end() override;
  void on_failure(const std::string& reason) override;

  void send(std::string_view bytes) override;
  bool congested() const override;
  void body_wanted() override;
  void exchange_complete(bool keep_alive) override;
  void exchange_refused(const Refusal& refusal) override;
  void exchange_broken() override;

  BrokerContext& context_;
  std::unique_ptr<net::Stream> stream_;
  std::function<void(ClientConnection&)> gone_;
  State state_ = State::head;
  std::string in_;
  std::size_t used_ = 0;  // of in_
  http::BodyDecoder body_{http::Framing{}};
  std::unique_ptr<Exchange> exchange_;
  bool continue_expected_ = false;
  bool input_ended_ = false;
  bool is_head_ = false;
  bool keep_alive_ = true;  // as the client asked for the current request
  bool is_http10_ = false;
  std::size_t discarded_ = 0;
  int lingered_ = 0;
  bool process_scheduled_ = false;
  net::Reactor::TimerId timer_{};
  bool timer_armed_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace agentvault::broker
