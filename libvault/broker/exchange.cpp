#include "broker/exchange.hpp"

#include <algorithm>
#include <array>
#include <set>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "broker/stages.hpp"
#include "broker/taken_tokens.hpp"

namespace agentvault::broker {
namespace {

using namespace std::string_view_literals;

/// Hints of the upstream about how to reach it directly: not for whoever must go through the broker.
constexpr std::array kNotPassedOn{"alt-svc"sv, "strict-transport-security"sv, "content-length"sv};

constexpr std::size_t kMostDecoded = 4096;

/// What a body is called by its bytes: no longer true of a decoded one.
constexpr std::array kOfEncodedBody{"content-encoding"sv, "content-md5"sv, "content-digest"sv, "etag"sv};

}  // namespace

Exchange::Exchange(BrokerContext& context, ExchangeClient& client, Request request)
    : session_(context.session),
      pool_(context.pool),
      egress_(context.egress),
      client_(client),
      request_(std::move(request)),
      scrubber_(context.needles),
      recorded_as_(context.session.segment().appended()),
      deadline_(context.reactor) {
  // Open streams end with the token that opened them.
  deadline_.arm(session_, request_, [this] { refuse(token_expired(), "the token expired"); });
}

Exchange::~Exchange() {
  abandon("the session ended");
}

void Exchange::start() {
  if (!pool_.has_idle(request_.pool_key)) {
    if (const auto refusal = commit_record(session_)) return refuse(*refusal, refusal->code);
  }
  upstream_ = &pool_.acquire(request_.pool_key, request_.upstream, {request_.head.method, request_.websocket}, *this);
}

void Exchange::upstream_ready() {
  try {
    upstream_->write(inject(request_).reveal());
    if (request_.collected && !request_.has_body_hole()) upstream_->write(as_bytes(request_.body));
  } catch (const Error& error) {
    return upstream_failed({503, "out_of_memory", error.what(), "try again when fewer requests are under way"});
  }
  ready_ = true;
  if (request_.collected) {
    body_sent_ = true;
    bytes_sent_ = request_.body.size();
  }
  client_.body_wanted();
}

void Exchange::send_body(ByteView bytes) {
  if (upstream_ == nullptr) return;
  body_sent_ = true;
  bytes_sent_ += bytes.size();
  if (request_.head.framing.kind == http::Framing::Kind::chunked) {
    std::string chunk;
    http::write_chunk(bytes, chunk);
    upstream_->write(as_bytes(chunk));
  } else {
    upstream_->write(bytes);
  }
}

void Exchange::end_body(const http::Fields& trailers) {
  body_ended_ = true;
  if (upstream_ == nullptr || request_.head.framing.kind != http::Framing::Kind::chunked) return;
  http::Fields passed_on = trailers;
  // A trailer must not become what a header may not be.
  remove_authorization(passed_on, request_.grant != nullptr ? &request_.grant->binding : nullptr);
  remove_overrides(passed_on);
  remove_what_is_ours(passed_on, !request_.candidates.empty());
  for (const char* name : {"cookie", "content-encoding", "content-type"}) passed_on.remove(name);
  // What a rule looks at was judged in the head.
  const auto& rules = request_.grant != nullptr ? request_.grant->rules : session_.bare_rules();
  std::erase_if(passed_on.list(), [&](const auto& field) { return rules.names_header(field.name); });
  std::erase_if(passed_on.list(),
                [](const auto& field) { return holds_token(field.value) || holds_token(field.name); });
  std::string last;
  http::write_last_chunk(passed_on, last);
  body_sent_ = true;  // the end of a body is part of it: it cannot be sent again
  upstream_->write(as_bytes(last));
}

void Exchange::upstream_head(const http::ResponseHead& head, const http::Framing& framing) {
  if (head.status == 101) return pass_on_upgrade(head);
  if (!begin_decoding(head, framing)) {
    return upstream_failed({502, "encoded_response", "the upstream sent a body in an encoding that was not asked for",
                            "it cannot be searched for secrets, so it is not passed on"});
  }
  pass_on_head(head, framing);
}

/// Identity was asked for. Some servers send something else all the same.
bool Exchange::begin_decoding(const http::ResponseHead& head, const http::Framing& framing) {
  const auto codings = http::content_codings(head.fields);
  if (codings.empty() || framing.kind == http::Framing::Kind::none) return true;
  // A host that no secret was ever sent to: its files are none of ours to unpack.
  if (request_.candidates.empty()) return true;
  decoder_ = http::make_decoder(codings);
  return decoder_ != nullptr;
}

http::Fields Exchange::scrubbed_fields(const http::Fields& fields) {
  http::Fields out = fields;
  http::remove_hop_by_hop(out);
  out.remove(kNotPassedOn);
  for (auto& field : out.list()) {
    scrubber_.whole(field.name);
    scrubber_.whole(field.value);
  }
  return out;
}

void Exchange::pass_on_head(const http::ResponseHead& head, const http::Framing& framing) {
  status_ = head.status;
  if (request_.model_call) {
    const auto* type = head.fields.find("content-type");
    const bool stream = type != nullptr && lower(*type).starts_with("text/event-stream");
    usage_.emplace(request_.grant->metering.shape, stream);
  }
  http::Fields fields = scrubbed_fields(head.fields);
  // Written anew, since an upstream could spell something else in its zeros.
  const auto* length = head.fields.find("content-length");
  const auto parsed_length = length != nullptr ? parse_unsigned(*length) : std::nullopt;
  std::string told_length = parsed_length ? std::to_string(*parsed_length) : "";
  scrubber_.whole(told_length);
  using Kind = http::Framing::Kind;
  if (decoder_) fields.remove(kOfEncodedBody);
  const bool unknown_length = decoder_ || framing.kind == Kind::chunked || framing.kind == Kind::until_end;
  chunked_to_client_ = unknown_length && request_.head.minor_version == 1;
  close_ends_body_ = unknown_length && !chunked_to_client_;
  std::string out = "HTTP/1.1 " + std::to_string(head.status) + " " + reason_phrase(head.status) + "\r\n";
  http::write_fields(fields, out);
  const bool told = framing.kind == Kind::length || (framing.kind == Kind::none && !told_length.empty());
  if (told && !unknown_length && head.status != 204) out += "Content-Length: " + told_length + "\r\n";
  if (chunked_to_client_) out += "Transfer-Encoding: chunked\r\n";
  if (close_ends_body_ || !request_.head.keep_alive() || !body_ended_) out += "Connection: close\r\n";
  out += "\r\n";
  head_passed_on_ = true;
  client_.send(out);
}

void Exchange::pass_on_upgrade(const http::ResponseHead& head) {
  if (!http::completes_websocket(head, *request_.head.fields.find("sec-websocket-key"))) {
    return upstream_failed({502, "bad_websocket", "the upstream did not complete the WebSocket handshake",
                            "does it speak WebSocket there?"});
  }
  status_ = head.status;
  websocket_ = std::make_unique<scrub::WebSocketScrubber>(scrubber_);
  close_ends_body_ = true;
  std::string out = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
  http::write_fields(scrubbed_fields(head.fields), out);
  out += "\r\n";
  head_passed_on_ = true;
  client_.send(out);
  client_.exchange_upgraded();
}

/// Decodes and scrubs. False: the upstream broke the rules.
bool Exchange::clean(ByteView bytes, std::string& out) {
  if (websocket_) return websocket_->feed(bytes, out);
  const auto pass = [&](ByteView part) {
    if (usage_) usage_->feed(part);
    scrubber_.feed(part, out);
    return true;
  };
  return decoder_ ? decoder_->feed(bytes, pass) : pass(bytes);
}

void Exchange::emit(const std::string& clean) {
  if (clean.empty()) return;
  if (chunked_to_client_) {
    std::string chunk;
    http::write_chunk(as_bytes(clean), chunk);
    client_.send(chunk);
  } else {
    client_.send(clean);
  }
}

void Exchange::upstream_body(ByteView bytes) {
  bytes_received_ += bytes.size();
  // A little at a time where it is decoded: a small piece may expand to a large one.
  const std::size_t step = decoder_ ? kMostDecoded : bytes.size();
  for (std::size_t at = 0; at < bytes.size(); at += step) {
    std::string out;
    if (!clean(bytes.subspan(at, std::min(step, bytes.size() - at)), out)) return malformed_body();
    emit(out);
  }
  if (upstream_ != nullptr && client_.congested()) upstream_->pause();
}

void Exchange::malformed_body() {
  upstream_failed({502, "upstream_broken", request_.upstream.authority() + " sent a malformed body", "try again"});
}

void Exchange::upstream_done(const http::Fields& trailers) {
  if (decoder_ && !decoder_->finish()) return malformed_body();
  std::string rest;
  scrubber_.finish(rest);
  emit(rest);
  if (chunked_to_client_) {
    http::Fields passed_on = trailers;
    for (const char* name : {"content-length", "content-encoding", "content-type"}) passed_on.remove(name);
    passed_on = scrubbed_fields(passed_on);
    std::string last;
    http::write_last_chunk(passed_on, last);
    client_.send(last);
  }
  settle("complete");
  if (upstream_ == nullptr) return;
  UpstreamConnection& done = *upstream_;
  upstream_ = nullptr;
  // Answered before the request was complete: what is still on its way would be taken for the next request.
  const auto& framed = request_.head.framing;
  const bool whole = body_ended_ && (framed.kind != http::Framing::Kind::length || bytes_sent_ == framed.length);
  pool_.release(done, whole);
  client_.exchange_complete(body_ended_ && !close_ends_body_ && request_.head.keep_alive());
}

void Exchange::upstream_drained() {
  client_.body_wanted();
}

void Exchange::client_drained() {
  if (upstream_ != nullptr && ready_) upstream_->resume();
}

/// A kept connection may have been closed by the upstream just as it was taken. The request can be sent again if it
/// cannot have had an effect, or if doing it twice is the same as once (RFC 9110, section 9.2.2).
bool Exchange::worth_another_try() const {
  static const std::set<std::string> idempotent{"GET", "HEAD", "OPTIONS", "PUT", "DELETE"};
  return upstream_->reused() && !tried_again_ && !head_passed_on_ && !body_sent_ &&
         (!ready_ || idempotent.contains(request_.head.method));
}

void Exchange::upstream_failed(const Refusal& refusal) {
  if (upstream_ == nullptr) return;
  const bool again = worth_another_try() && refusal.code == "upstream_broken";
  pool_.release(*upstream_, false);
  upstream_ = nullptr;
  if (again) {
    tried_again_ = true;
    ready_ = false;
    return start();
  }
  settle(refusal.code);
  if (head_passed_on_) return client_.exchange_broken();
  client_.exchange_refused(refusal);
}

void Exchange::abandon(const std::string& why) {
  if (upstream_ != nullptr) {
    pool_.release(*upstream_, false);
    upstream_ = nullptr;
  }
  settle(why);
}

void Exchange::enforce_withdrawals() {
  if (const auto refusal = judge_again(session_, egress_, request_, request_.approved)) refuse(*refusal, refusal->code);
}

void Exchange::enforce_record() {
  if (recorded_as_ <= session_.segment().committed()) return;
  const Refusal refusal = not_recorded();
  refuse(refusal, refusal.code);
}

void Exchange::refuse(const Refusal& refusal, const std::string& ended) {
  abandon(ended);
  if (head_passed_on_) return client_.exchange_broken();
  client_.exchange_refused(refusal);
}

void Exchange::settle(const std::string& ended) {
  if (settled_) return;
  settled_ = true;
  deadline_.cancel();
  const std::set<std::size_t> owners(scrubber_.hits().begin(), scrubber_.hits().end());
  for (const auto owner : owners) {
    auto& grant = session_.grants()[owner];
    ++grant.reflections;
    log::warning("the secret of " + grant.name + " came back in a response and was taken out");
  }
  settle_budget(session_, request_, {ready_, status_, ended == "complete", usage_ ? usage_->finish() : std::nullopt});
  const auto took = std::chrono::steady_clock::now() - began_;
  try {
    session_.segment().append(audit::RequestSettled{
        request_.number, status_, bytes_sent_, bytes_received_, scrubber_.hits().size(),
        static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()), ended});
  } catch (const Error& error) {
    log::warning(error.what());  // the decision itself was recorded before
  }
}

}  // namespace agentvault::broker
