// Decides about the requests of one connection: route, authenticate, decide, record, in the way that the connection's
// standing asks for.
#pragma once

#include <optional>

#include "broker/context.hpp"
#include "broker/stages.hpp"

namespace agentvault::broker {

class Admission {
 public:
  /// `implied`: the token of a client that cannot authenticate to a proxy; null for all others.
  Admission(BrokerContext& context, TokenRef implied) : context_(context), implied_(std::move(implied)) {}

  /// First half: where the request is to go. A refusal is final, but is to be recorded.
  std::optional<Refusal> route(Request& request);
  /// How much of the request's body the rest needs to see; 0: nothing. More than that is refused where a key goes into
  /// it, and counts against the request where rules ask.
  std::size_t wanted_body(const Request& request) const;
  bool key_goes_into_body(const Request& request) const;
  /// Whether its head, or the tunnel that it comes through, has a token of the session's own agent, and of no
  /// sub-agent.
  bool is_agents_own(const Request& request) const;
  /// Second half, and the record of both. Without a refusal: go ahead, unless a person is to be asked.
  Judgement judge(Request& request, std::optional<Refusal> refusal);
  /// After the person's answer: everything once more, since time has passed. Nothing: go ahead.
  std::optional<Refusal> judge_answered(Request& request, Approvals::Verdict verdict);

  /// After a CONNECT that was admitted. What is inside is for the broker itself, for an intercepted host, or nobody's
  /// business here.
  enum class Inside { broker, interception, opaque };
  Inside enter_tunnel(const Request& connect);
  /// Inside an interception: what the client named in its TLS handshake.
  void set_server_name(const std::string& name);
  const std::string& intercepted_host() const { return interception_->host; }

 private:
  bool is_connect(const Request& request) const { return request.head.method == "CONNECT"; }
  bool is_for_broker(const net::Endpoint& endpoint) const;
  Judgement decide_all(Request& request);
  Judgement finish(Request& request, Judgement judgement);
  Judgement bind_plan(Request& request);
  Judgement decide_connect(Request& request);

  BrokerContext& context_;
  TokenRef implied_;
  std::optional<Interception> interception_;
  TokenRef proxy_token_;  // of the current request, if it came as to a proxy
};

}  // namespace agentvault::broker
