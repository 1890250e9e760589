// One connection of an agent: parses its requests one after the other, runs them through the stages, answers what the
// broker refuses, and hands what is allowed to an Exchange.
#pragma once

#include <memory>
#include <string>

#include "broker/admission.hpp"
#include "broker/exchange.hpp"
#include "broker/refusal.hpp"
#include "broker/tunnel.hpp"
#include "http/body.hpp"
#include "net/stream.hpp"

namespace agentvault::broker {

class ClientConnection final : public net::Stream::Owner, public ExchangeClient, public TunnelClient {
 public:
  /// `implied`: see Admission. `diverted_to`: where the agent meant to connect, not knowing of the broker; such a
  /// connection counts as one inside a tunnel. `gone` is called once, when the connection has ended; the object may be
  /// retired then.
  ClientConnection(BrokerContext& context, UniqueFd socket, TokenRef implied, std::optional<net::Endpoint> diverted_to,
                   std::function<void(ClientConnection&)> gone);
  ~ClientConnection() override;
  ClientConnection(const ClientConnection&) = delete;
  ClientConnection& operator=(const ClientConnection&) = delete;

  /// What would be lost with it: nothing, a request that is not complete, or one that is under way.
  enum class Usefulness { idle, unfinished, busy };
  Usefulness usefulness() const;
  /// Ends at once; `why` is for the log.
  void end(const std::string& why);

  /// Ends what is under way if its authority was withdrawn.
  void enforce_withdrawals();
  /// Ends what is under way if it could not be written down.
  void enforce_record();

 private:
  /// What is expected of the agent next: a request, the body of one that is judged with it, nothing while a person is
  /// asked, the rest of one that goes through or was refused, the first bytes inside a tunnel, anything inside an
  /// opaque one, nothing.
  enum class State { head, collecting, waiting, exchange, discarding, entering, tunnel, closing };

  void process();
  void process_input();
  void guarded(const std::function<void()>& work);
  void process_soon() { process_soon_.ask(); }
  bool read_head();
  bool read_body();
  std::optional<Refusal> judge_body_so_far() const;
  bool collect_body();
  bool discard_body();
  bool enter();
  bool read_tunnel();
  void begin_request(http::RequestHead head);
  void admit(std::optional<Refusal> refusal);
  void ask(const std::string& rule);
  void go_on(std::optional<Refusal> refusal);
  void begin_exchange();
  void begin_tunnel();
  void begin_diverted(const net::Endpoint& target);
  void say_established();
  void refuse(const Refusal& refusal, bool keep_alive);
  void next_request(bool keep_alive);
  void close_after_sending();
  void close_now() { end("the agent closed the connection"); }
  void arm_timer();

  void on_open() override;
  void on_data(ByteView bytes) override;
  void on_drained() override;
  void on_end() override;
  void on_failure(const std::string& reason) override;

  void send(std::string_view bytes) override;
  bool congested() const override;
  void body_wanted() override;
  void exchange_complete(bool keep_alive) override;
  void exchange_refused(const Refusal& refusal) override;
  void exchange_upgraded() override;
  void exchange_broken() override;

  void tunnel_open() override;
  void tunnel_refused(const Refusal& refusal) override;
  void tunnel_ended() override;
  void tunnel_broken() override;

  BrokerContext& context_;
  Admission admission_;
  std::unique_ptr<net::Stream> stream_;
  std::function<void(ClientConnection&)> gone_;
  State state_ = State::head;
  std::string in_;
  std::size_t used_ = 0;  // of in_
  http::BodyDecoder body_{http::Framing{}};
  Request request_;  // while it is judged
  BodyRoom::Share room_;
  std::size_t most_collected_ = 0;
  std::optional<std::string> question_;  // what a person is asked
  std::unique_ptr<Exchange> exchange_;
  std::unique_ptr<Tunnel> tunnel_;
  Admission::Inside inside_ = Admission::Inside::broker;
  bool diverted_ = false;  // there was no CONNECT to answer
  bool secured_ = false;   // TLS inside an interception stands
  bool continue_expected_ = false;
  bool input_ended_ = false;
  bool head_begun_ = false;
  bool is_head_ = false;
  bool keep_alive_ = true;  // as the client asked for the current request
  bool is_http10_ = false;
  std::size_t discarded_ = 0;
  int lingered_ = 0;
  net::Timer timer_;
  net::Soon process_soon_;
  std::optional<net::Soon> divert_soon_;
};

}  // namespace agentvault::broker
