#include "broker/client_connection.hpp"

#include <utility>

#include "base/error.hpp"
#include "base/log.hpp"
#include "broker/stages.hpp"

namespace agentvault::broker {
namespace {

constexpr std::chrono::minutes kIdleTimeout{5};
constexpr std::chrono::seconds kHeadTimeout{30};  // from its first byte to its last
constexpr std::chrono::seconds kLingerTimeout{5};
constexpr int kMaxLingers = 60;  // 5 minutes
constexpr std::size_t kMaxDiscarded = 1024 * 1024;
constexpr std::size_t kMaxBuffered = 256 * 1024;
constexpr char kTlsHandshake = 0x16;  // first byte of a TLS connection (RFC 8446, section 5.1)
constexpr std::string_view kEstablished = "HTTP/1.1 200 Connection established\r\n\r\n";

Refusal malformed_body() {
  return {400, "malformed_request", "the request body is malformed", "send plain, unambiguous HTTP/1.1"};
}

}  // namespace

ClientConnection::ClientConnection(BrokerContext& context, UniqueFd socket, TokenRef implied,
                                   std::optional<net::Endpoint> diverted_to,
                                   std::function<void(ClientConnection&)> gone)
    : context_(context),
      admission_(context, std::move(implied)),
      stream_(std::make_unique<net::Stream>(context.reactor, std::move(socket), *this)),
      gone_(std::move(gone)),
      room_(context.body_room),
      diverted_(diverted_to.has_value()),
      timer_(context.reactor),
      process_soon_(context.reactor, [this] { process(); }) {
  arm_timer();
  if (!diverted_) {
    stream_->start();
    return;
  }
  divert_soon_.emplace(context.reactor, [this, target = std::move(*diverted_to)] { begin_diverted(target); });
  divert_soon_->ask();
}

ClientConnection::~ClientConnection() {
  if (question_) context_.approvals.withdraw(*question_);
  stream_->detach();
}

/// Only waiting for a head, and for the last bytes to leave, is bounded here: an exchange bounds itself.
void ClientConnection::arm_timer() {
  std::chrono::milliseconds limit = kIdleTimeout;
  if (state_ == State::closing) limit = kLingerTimeout;
  if (state_ == State::head && head_begun_) limit = kHeadTimeout;
  timer_.set(limit, [this] {
    // A slow reader still has its answer coming.
    const bool reading = state_ == State::closing && !stream_->everything_sent() && ++lingered_ < kMaxLingers;
    if (reading) return arm_timer();
    if (!stream_->everything_sent()) stream_->reset_on_close();
    close_now();
  });
}

void ClientConnection::enforce_withdrawals() {
  if (question_) {
    if (auto refusal = judge_again(context_.session, context_.egress, request_, true)) {
      context_.approvals.withdraw(*question_);
      question_.reset();
      go_on(std::move(refusal));
    }
  }
  if (exchange_) exchange_->enforce_withdrawals();
  if (tunnel_) tunnel_->enforce_withdrawals();
}

void ClientConnection::enforce_record() {
  if (exchange_) exchange_->enforce_record();
}

ClientConnection::Usefulness ClientConnection::usefulness() const {
  switch (state_) {
    case State::head:
    case State::entering:
    case State::discarding:
      return stream_->everything_sent() ? Usefulness::idle : Usefulness::busy;
    case State::closing:
      return Usefulness::idle;
    case State::collecting:
      return Usefulness::unfinished;
    case State::waiting:
    case State::exchange:
    case State::tunnel:
      return Usefulness::busy;
  }
  return Usefulness::busy;
}

/// The TLS handshake inside an intercepted tunnel is done.
void ClientConnection::on_open() {
  secured_ = true;
  admission_.set_server_name(stream_->requested_host());
}

void ClientConnection::on_data(ByteView bytes) {
  if (state_ == State::closing) return;  // drained so that the peer is not reset before it has read our answer
  if (used_ > 0) {
    in_.erase(0, used_);
    used_ = 0;
  }
  in_.append(as_text(bytes));
  process();
}

void ClientConnection::process() {
  guarded([this] { process_input(); });
}

void ClientConnection::guarded(const std::function<void()>& work) {
  try {
    work();
  } catch (const std::exception& error) {
    // Out of locked memory, or a fault of ours: this connection ends, the session goes on.
    log::warning(std::string("a request was dropped: ") + error.what());
    close_now();
  }
}

void ClientConnection::process_input() {
  bool again = true;
  while (again) {
    switch (state_) {
      case State::head:
        // Whoever does not read its answers gets no further ones.
        again = !congested() && read_head();
        break;
      case State::collecting:
        again = collect_body();
        break;
      case State::waiting:
        again = false;
        break;
      case State::exchange:
        again = read_body();
        break;
      case State::entering:
        again = enter();
        break;
      case State::tunnel:
        again = read_tunnel();
        break;
      case State::discarding:
        again = discard_body();
        break;
      case State::closing:
        again = false;
        break;
    }
  }
  if (state_ == State::closing) return;
  // What is not wanted yet stays with the kernel, and so with the sender.
  const bool full = in_.size() - used_ > kMaxBuffered;
  if (full && !stream_->paused()) stream_->pause();
  if (!full && stream_->paused()) stream_->resume();
  const bool in_body = state_ == State::exchange || state_ == State::collecting || state_ == State::waiting;
  // The rest of the request will never come.
  if (input_ended_ && in_body && !body_.done() && used_ == in_.size()) return close_now();
  if (!input_ended_ || in_body) return;
  if (state_ == State::head && congested()) return;  // there may be more requests to answer
  if (state_ != State::tunnel) return close_after_sending();
  if (used_ == in_.size()) tunnel_->end_sending();
}

bool ClientConnection::read_head() {
  const std::string_view rest = std::string_view(in_).substr(used_);
  if (rest.empty()) return false;
  auto parsed = http::parse_request_head(rest);
  if (std::holds_alternative<http::Incomplete>(parsed)) {
    if (!std::exchange(head_begun_, true)) arm_timer();
    return false;
  }
  head_begun_ = false;
  if (const auto* bad = std::get_if<http::Malformed>(&parsed)) {
    is_head_ = false;
    Request unreadable;
    unreadable.number = context_.session.next_request();
    const Refusal refusal{bad->status, "malformed_request", "the request is refused: " + bad->reason,
                          "send plain, unambiguous HTTP/1.1"};
    admission_.judge(unreadable, refusal);
    refuse(refusal, false);
    return false;
  }
  auto& [head, size] = std::get<http::Parsed<http::RequestHead>>(parsed);
  used_ += size;
  begin_request(std::move(head));
  return state_ != State::closing;
}

void ClientConnection::begin_request(http::RequestHead head) {
  is_head_ = head.method == "HEAD";
  is_http10_ = head.minor_version == 0;
  body_ = http::BodyDecoder(head.framing);
  continue_expected_ = head.fields.lists("expect", "100-continue") && !body_.done() && !is_http10_;
  keep_alive_ = head.keep_alive();

  room_.give_back();
  request_ = Request();
  request_.number = context_.session.next_request();
  request_.head = std::move(head);
  auto refusal = admission_.route(request_);
  if (!refusal) refusal = judge_body_so_far();
  if (refusal || !request_.has_body()) return admit(std::move(refusal));
  most_collected_ = admission_.wanted_body(request_);
  const auto& framing = request_.head.framing;
  const bool too_large = framing.kind == http::Framing::Kind::length && framing.length > most_collected_;
  // What rules cannot see counts against the request; what a key goes into must be seen.
  const bool may_be_unseen = !admission_.key_goes_into_body(request_) && !request_.declares_plan;
  if (most_collected_ == 0 || (too_large && may_be_unseen)) return admit(std::nullopt);
  state_ = State::collecting;
  request_.collected = true;
  room_.begin(admission_.is_agents_own(request_));
  arm_timer();
  if (continue_expected_) send("HTTP/1.1 100 Continue\r\n\r\n");
  continue_expected_ = false;
  process_soon();
}

/// Of what came with the head: nothing goes out for a body that is seen to be malformed.
std::optional<Refusal> ClientConnection::judge_body_so_far() const {
  if (request_.head.framing.kind != http::Framing::Kind::chunked) return std::nullopt;
  http::BodyDecoder ahead = body_;
  ahead.feed(as_bytes(std::string_view(in_).substr(used_)), [](ByteView) {});
  if (!ahead.failed()) return std::nullopt;
  return malformed_body();
}

bool ClientConnection::collect_body() {
  const ByteView rest = as_bytes(std::string_view(in_).substr(used_));
  bool is_room = true;
  used_ += body_.feed(rest, [&](ByteView part) {
    if (request_.body.size() > most_collected_) return;
    request_.body += as_text(part);
    is_room = room_.take(part.size()) && is_room;
  });
  if (!is_room) {
    admit(Refusal{503, "too_many_bodies", "too many bodies that must be read first are on their way", "try again"});
    return false;
  }
  if (body_.failed()) {
    admit(malformed_body());
    return false;
  }
  if (request_.body.size() > most_collected_) {
    admit(Refusal{413, "body_too_large",
                  "a body that must be read first is larger than " + std::to_string(most_collected_ >> 10) + " KiB",
                  "send a smaller one"});
    return false;
  }
  if (!body_.done()) return false;
  // It goes on in one piece, whichever credential is chosen.
  request_.head.framing = {http::Framing::Kind::length, request_.body.size()};
  admit(std::nullopt);
  return state_ != State::closing;
}

void ClientConnection::admit(std::optional<Refusal> refusal) {
  auto judgement = admission_.judge(request_, std::move(refusal));
  if (judgement.asks && !judgement.refusal) return ask(judgement.reason);
  go_on(std::move(judgement.refusal));
}

/// The connection stays, and so does the request.
void ClientConnection::ask(const std::string& rule) {
  const auto* policy = context_.session.agent_policy();
  const auto patience = policy != nullptr ? policy->approval_timeout.value_or(policy::kUsualApprovalTimeout)
                                          : policy::kUsualApprovalTimeout;
  state_ = State::waiting;
  timer_.cancel();
  question_ = context_.approvals.ask(request_, rule, patience, [this](Approvals::Verdict verdict) {
    question_.reset();
    guarded([&] {
      go_on(admission_.judge_answered(request_, verdict));
      process_soon();
    });
  });
  if (!question_) {
    go_on(Refusal{503, "too_many_questions", "too many requests wait for approval", "wait until some are answered"});
  }
}

void ClientConnection::go_on(std::optional<Refusal> refusal) {
  // A client that waits for "100 Continue" may or may not send its body after a refusal: only closing is unambiguous.
  const bool cut_short = request_.collected && !body_.done();
  const bool is_connect = request_.head.method == "CONNECT";
  if (!refusal && is_connect) refusal = commit_record(context_.session);
  if (refusal) return refuse(*refusal, keep_alive_ && !continue_expected_ && !body_.failed() && !cut_short);
  if (is_connect) return begin_tunnel();
  begin_exchange();
}

/// As if it had asked for a tunnel to where it meant to go.
void ClientConnection::begin_diverted(const net::Endpoint& target) {
  http::RequestHead head;
  head.method = "CONNECT";
  head.target = net::bracketed(target.host) + ":" + std::to_string(target.port);
  head.minor_version = 1;
  try {
    begin_request(std::move(head));
  } catch (const std::exception& error) {
    log::warning(std::string("a connection was dropped: ") + error.what());
    return close_now();
  }
  if (gone_) stream_->start();
}

void ClientConnection::say_established() {
  if (!diverted_) send(kEstablished);
}

void ClientConnection::begin_exchange() {
  state_ = State::exchange;
  timer_.cancel();
  exchange_ = std::make_unique<Exchange>(context_, *this, std::move(request_));
  if (body_.done()) exchange_->end_body({});
  exchange_->start();
}

void ClientConnection::begin_tunnel() {
  inside_ = admission_.enter_tunnel(request_);
  if (inside_ != Admission::Inside::opaque) {
    say_established();
    state_ = State::entering;
    return arm_timer();
  }
  timer_.cancel();
  state_ = State::tunnel;
  tunnel_ = std::make_unique<Tunnel>(context_, *this, std::move(request_));
}

/// TLS or not: the first byte tells.
bool ClientConnection::enter() {
  if (used_ == in_.size()) return false;
  state_ = State::head;
  if (inside_ != Admission::Inside::interception || in_[used_] != kTlsHandshake) return true;
  const std::string received = in_.substr(used_);
  in_.clear();
  used_ = 0;
  stream_->begin_tls(context_.ca.accept(admission_.intercepted_host()), as_bytes(received));
  return false;
}

bool ClientConnection::read_tunnel() {
  if (used_ == in_.size() || !tunnel_->wants_bytes()) return false;
  tunnel_->send(as_bytes(std::string_view(in_).substr(used_)));
  used_ = in_.size();
  return true;
}

bool ClientConnection::read_body() {
  if (!exchange_ || body_.done() || used_ == in_.size() || !exchange_->wants_body()) return false;
  const ByteView rest = as_bytes(std::string_view(in_).substr(used_));
  used_ += body_.feed(rest, [this](ByteView part) {
    if (exchange_) exchange_->send_body(part);
  });
  if (!exchange_) return false;  // writing failed, and it was told so
  if (body_.failed()) {
    exchange_->abandon("malformed request body");
    context_.reactor.retire(std::move(exchange_));
    refuse(malformed_body(), false);
    return false;
  }
  if (body_.done()) exchange_->end_body(body_.trailers());
  return true;
}

bool ClientConnection::discard_body() {
  const ByteView rest = as_bytes(std::string_view(in_).substr(used_));
  const std::size_t taken = body_.feed(rest, [](ByteView) {});
  used_ += taken;
  discarded_ += taken;
  if (body_.failed() || discarded_ > kMaxDiscarded) {
    close_after_sending();
    return false;
  }
  if (!body_.done()) return false;
  next_request(true);
  return state_ == State::head;
}

void ClientConnection::refuse(const Refusal& refusal, bool keep_alive) {
  // Inside a tunnel it is answered; one that does not stand has nobody who would understand.
  if (diverted_ && inside_ != Admission::Inside::interception) return tunnel_broken();
  send(write_refusal(refusal, keep_alive, !is_head_));
  if (!keep_alive) return close_after_sending();
  state_ = State::discarding;
  discarded_ = 0;
  process_soon();
}

void ClientConnection::next_request(bool keep_alive) {
  room_.give_back();
  if (!keep_alive) return close_after_sending();
  state_ = State::head;
  arm_timer();
  process_soon();
}

void ClientConnection::close_after_sending() {
  if (state_ == State::closing) return;
  state_ = State::closing;
  in_.clear();
  used_ = 0;
  stream_->finish_sending();
  if (stream_->paused()) stream_->resume();
  arm_timer();
  // The peer closes when it has read our answer; the timer closes for one that does not.
  if (input_ended_ && stream_->everything_sent()) close_now();
}

void ClientConnection::end(const std::string& why) {
  if (!gone_) return;
  state_ = State::closing;
  if (exchange_) {
    exchange_->abandon(why);
    context_.reactor.retire(std::move(exchange_));
  }
  if (tunnel_) {
    tunnel_->abandon(why);
    context_.reactor.retire(std::move(tunnel_));
  }
  if (question_) context_.approvals.withdraw(*question_);
  question_.reset();
  stream_->detach();
  auto gone = std::move(gone_);
  gone_ = nullptr;
  gone(*this);
}

void ClientConnection::on_drained() {
  if (exchange_) exchange_->client_drained();
  if (tunnel_) tunnel_->client_drained();
  process_soon();
}

void ClientConnection::on_end() {
  input_ended_ = true;
  if (state_ == State::closing) return close_now();
  // A client may end its side and still wait for its answer.
  process();
}

void ClientConnection::on_failure(const std::string& reason) {
  const bool in_handshake = inside_ == Admission::Inside::interception && !secured_ && reason.starts_with("TLS");
  if (in_handshake && context_.distrusted_at.insert(admission_.intercepted_host()).second) {
    log::warning("a client gave up its connection to " + admission_.intercepted_host() + " (" + reason +
                 "): does it read the certificates that the environment names? See \"agentvault doctor\"");
  }
  log::debug("agent connection: " + reason);
  close_now();
}

void ClientConnection::send(std::string_view bytes) {
  stream_->write(as_bytes(bytes));
}

bool ClientConnection::congested() const {
  return stream_->above_high_water();
}

void ClientConnection::body_wanted() {
  if (continue_expected_) {
    // Decided and connected: now the body is welcome.
    continue_expected_ = false;
    send("HTTP/1.1 100 Continue\r\n\r\n");
  }
  process_soon();
}

void ClientConnection::exchange_complete(bool keep_alive) {
  context_.reactor.retire(std::move(exchange_));
  // A client may have sent all its requests, and ended its side.
  next_request(keep_alive && (!input_ended_ || used_ < in_.size()));
}

void ClientConnection::exchange_refused(const Refusal& refusal) {
  context_.reactor.retire(std::move(exchange_));
  refuse(refusal, body_.done() && keep_alive_ && !input_ended_);
}

/// A WebSocket: from here on bytes, until one side ends.
void ClientConnection::exchange_upgraded() {
  body_ = http::BodyDecoder({http::Framing::Kind::until_end, 0});
  process_soon();
}

void ClientConnection::tunnel_open() {
  say_established();
  process_soon();
}

void ClientConnection::tunnel_refused(const Refusal& refusal) {
  context_.reactor.retire(std::move(tunnel_));
  refuse(refusal, keep_alive_ && !input_ended_);
}

void ClientConnection::tunnel_ended() {
  if (input_ended_) return close_after_sending();
  stream_->finish_sending();
}

void ClientConnection::tunnel_broken() {
  stream_->reset_on_close();
  close_now();
}

void ClientConnection::exchange_broken() {
  // An orderly end could be taken for the end of the body.
  stream_->reset_on_close();
  close_now();
}

}  // namespace agentvault::broker
