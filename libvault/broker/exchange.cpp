#include "broker/exchange.hpp"

#include <algorithm>
#include <array>
#include <set>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "broker/stages.hpp"

namespace agentvault::broker {
namespace {

/// Hints of the upstream about how to reach it directly: not for whoever must go through the broker.
constexpr std::array kNotPassedOn{"alt-svc", "strict-transport-security", "content-length"};

bool is_identity(const http::ResponseHead& head) {
  for (const auto& field : head.fields.list()) {
    if (equal_ignoring_case(field.name, "content-encoding") && !equal_ignoring_case(field.value, "identity"))
      return false;
  }
  return true;
}

}  // namespace

Exchange::Exchange(SessionState& session, net::Reactor& reactor, UpstreamPool& pool, const Needles& needles,
                   ExchangeClient& client, Request request)
    : session_(session),
      reactor_(reactor),
      pool_(pool),
      client_(client),
      request_(std::move(request)),
      scrubber_(needles) {}

Exchange::~Exchange() {
  abandon("the session ended");
}

/// Open streams end with the token that opened them.
void Exchange::arm_deadline() {
  using std::chrono::milliseconds;
  auto left = std::chrono::duration_cast<milliseconds>(session_.lease().hard_end() - net::boot_time());
  if (request_.not_after) {
    const auto end = std::chrono::system_clock::from_time_t(static_cast<std::time_t>(*request_.not_after) + 1);
    left = std::min(left, std::chrono::duration_cast<milliseconds>(end - std::chrono::system_clock::now()));
  }
  deadline_ = reactor_.after(left, [this] {
    deadline_.reset();
    abandon("the token expired");
    if (head_passed_on_) return client_.exchange_broken();
    client_.exchange_refused(
        {401, "token_expired", "the token has expired", "start a new session with \"agentvault exec\""});
  });
}

void Exchange::start() {
  if (!deadline_) arm_deadline();
  upstream_ = &pool_.acquire(request_.pool_key, request_.grant->binding, request_.head.method, *this);
}

void Exchange::upstream_ready() {
  try {
    upstream_->write(inject(request_).reveal());
  } catch (const Error& error) {
    return upstream_failed({503, "out_of_memory", error.what(), "try again when fewer requests are under way"});
  }
  ready_ = true;
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
  remove_authorization(passed_on, request_.grant->binding);
  remove_overrides(passed_on);
  for (const char* name : {"host", "cookie", "content-length", "content-encoding", "content-type"}) {
    passed_on.remove(name);
  }
  http::remove_hop_by_hop(passed_on);
  std::erase_if(passed_on.list(),
                [](const auto& field) { return field.value.find(token::kPrefix) != std::string::npos; });
  std::string last;
  http::write_last_chunk(passed_on, last);
  body_sent_ = true;  // the end of a body is part of it: it cannot be sent again
  upstream_->write(as_bytes(last));
}

void Exchange::upstream_head(const http::ResponseHead& head, const http::Framing& framing) {
  if (!is_identity(head) && framing.kind != http::Framing::Kind::none) {
    return upstream_failed({502, "encoded_response",
                            "the upstream sent an encoded body although identity was asked for",
                            "this version cannot scrub it, so it is not passed on"});
  }
  status_ = head.status;
  http::Fields fields = head.fields;
  http::remove_hop_by_hop(fields);
  // Written anew, since an upstream could spell something else in its zeros.
  const auto* length = head.fields.find("content-length");
  const auto parsed_length = length != nullptr ? parse_unsigned(*length) : std::nullopt;
  std::string told_length = parsed_length ? std::to_string(*parsed_length) : "";
  scrubber_.whole(told_length);
  for (const char* name : kNotPassedOn) fields.remove(name);
  for (auto& field : fields.list()) {
    scrubber_.whole(field.name);
    scrubber_.whole(field.value);
  }
  using Kind = http::Framing::Kind;
  const bool unknown_length = framing.kind == Kind::chunked || framing.kind == Kind::until_end;
  chunked_to_client_ = unknown_length && request_.head.minor_version == 1;
  close_ends_body_ = unknown_length && !chunked_to_client_;
  std::string out = "HTTP/1.1 " + std::to_string(head.status) + " " + reason_phrase(head.status) + "\r\n";
  http::write_fields(fields, out);
  if (framing.kind == Kind::length || (framing.kind == Kind::none && !told_length.empty() && head.status != 204)) {
    out += "Content-Length: " + told_length + "\r\n";
  }
  if (chunked_to_client_) out += "Transfer-Encoding: chunked\r\n";
  if (close_ends_body_ || !request_.head.keep_alive() || !body_ended_) out += "Connection: close\r\n";
  out += "\r\n";
  head_passed_on_ = true;
  client_.send(out);
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
  std::string clean;
  scrubber_.feed(bytes, clean);
  emit(clean);
  if (client_.congested()) upstream_->pause();
}

void Exchange::upstream_done(const http::Fields& trailers) {
  std::string rest;
  scrubber_.finish(rest);
  emit(rest);
  if (chunked_to_client_) {
    http::Fields passed_on = trailers;
    http::remove_hop_by_hop(passed_on);
    for (const char* name : {"content-length", "content-encoding", "content-type"}) passed_on.remove(name);
    for (auto& field : passed_on.list()) {
      scrubber_.whole(field.name);
      scrubber_.whole(field.value);
    }
    std::string last;
    http::write_last_chunk(passed_on, last);
    client_.send(last);
  }
  settle("complete");
  UpstreamConnection& done = *upstream_;
  upstream_ = nullptr;
  // Answered before the request was complete: what is still on its way would be taken for the next request.
  pool_.release(done, body_ended_);
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
  const auto refusal = session_.withdrawals().judge(request_.grant->name, request_.token_ids);
  if (!refusal) return;
  abandon(refusal->code);
  if (head_passed_on_) return client_.exchange_broken();
  client_.exchange_refused(*refusal);
}

void Exchange::settle(const std::string& ended) {
  if (settled_) return;
  settled_ = true;
  if (deadline_) reactor_.cancel(*deadline_);
  deadline_.reset();
  const std::set<std::size_t> owners(scrubber_.hits().begin(), scrubber_.hits().end());
  for (const auto owner : owners) {
    auto& grant = session_.grants()[owner];
    ++grant.reflections;
    log::warning("the secret of " + grant.name + " came back in a response and was taken out");
  }
  const auto took = std::chrono::steady_clock::now() - began_;
  try {
    session_.segment().write(audit::RequestSettled{
        request_.number, status_, bytes_sent_, bytes_received_, scrubber_.hits().size(),
        static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()), ended});
  } catch (const Error& error) {
    log::warning(error.what());  // the decision itself was recorded before
  }
}

}  // namespace agentvault::broker
