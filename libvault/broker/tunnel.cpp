#include "broker/tunnel.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "broker/stages.hpp"

namespace agentvault::broker {

Tunnel::Tunnel(BrokerContext& context, TunnelClient& client, Request request)
    : context_(context), client_(client), request_(std::move(request)), deadline_(context.reactor) {
  deadline_.arm(context_.session, request_, [this] { stop("the token expired"); });
  dial_ = context_.network.dial(request_.upstream, [this](auto stream, const auto& early, const auto& failure) {
    dialled(std::move(stream), early, failure);
  });
}

Tunnel::~Tunnel() {
  abandon("the agent closed the connection");
  if (dial_) {
    dial_->give_up();
    context_.reactor.retire(std::move(dial_));
  }
  if (stream_) stream_->detach();
}

void Tunnel::dialled(std::unique_ptr<net::Stream> stream, const std::string& early,
                     const std::optional<net::DialFailure>& failure) {
  context_.reactor.retire(std::move(dial_));
  if (failure) {
    const Refusal refusal = dial_refusal(request_.upstream, *failure);
    settle(refusal.code);
    return client_.tunnel_refused(refusal);
  }
  stream_ = std::move(stream);
  stream_->set_owner(*this);
  client_.tunnel_open();
  if (!early.empty()) on_data(as_bytes(early));
}

void Tunnel::send(ByteView bytes) {
  bytes_sent_ += bytes.size();
  stream_->write(bytes);
}

void Tunnel::end_sending() {
  agent_ended_ = true;
  if (stream_) stream_->finish_sending();
  if (host_ended_) settle("complete");
}

void Tunnel::client_drained() {
  if (stream_) stream_->resume();
}

void Tunnel::on_data(ByteView bytes) {
  bytes_received_ += bytes.size();
  client_.send(as_text(bytes));
  if (client_.congested()) stream_->pause();
}

void Tunnel::on_drained() {
  client_.body_wanted();
}

void Tunnel::on_end() {
  host_ended_ = true;
  if (agent_ended_) settle("complete");
  client_.tunnel_ended();
}

void Tunnel::on_failure(const std::string& reason) {
  // After its end there is nothing left to break: what it said is still on its way to the agent.
  if (host_ended_) return;
  log::debug("tunnel to " + request_.upstream.authority() + ": " + reason);
  stop("the connection was cut");
}

void Tunnel::enforce_withdrawals() {
  const auto refusal = judge_again(context_.session, context_.egress, request_, request_.approved);
  if (refusal) stop(refusal->code);
}

void Tunnel::stop(const std::string& why) {
  settle(why);
  client_.tunnel_broken();
}

void Tunnel::settle(const std::string& ended) {
  if (settled_) return;
  settled_ = true;
  deadline_.cancel();
  const auto took = std::chrono::steady_clock::now() - began_;
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(took).count();
  try {
    context_.session.segment().append(audit::RequestSettled{request_.number, stream_ ? 200 : 0, bytes_sent_,
                                                            bytes_received_, 0,
                                                            static_cast<std::uint64_t>(milliseconds), ended});
  } catch (const Error& error) {
    log::warning(error.what());  // the decision itself was recorded before
  }
}

}  // namespace agentvault::broker
