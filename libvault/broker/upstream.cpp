#include "broker/upstream.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

namespace agentvault::broker {
namespace {

constexpr std::chrono::minutes kSilenceTimeout{10};  // models think long
constexpr std::chrono::seconds kIdleTimeout{30};
constexpr std::size_t kMaxIdle = 256;
constexpr int kMaxInformational = 16;

Refusal broken(const net::Endpoint& endpoint, const std::string& why) {
  return {502, "upstream_broken", endpoint.authority() + " broke off: " + printable(why), "try again"};
}

}  // namespace

Refusal dial_refusal(const net::Endpoint& endpoint, const net::DialFailure& failure) {
  using Kind = net::DialFailure::Kind;
  switch (failure.kind) {
    case Kind::address_refused:
      return {502, "address_refused", printable(failure.text),
              "a credential reaches such an address only if its --url names the address itself or localhost"};
    case Kind::certificate:
      return {502, "upstream_certificate", "cannot reach " + endpoint.authority() + ": " + printable(failure.text),
              "is the clock right? A private CA is named with \"agentvault add --ca-file\""};
    default:
      return {502, "upstream_unreachable", "cannot reach " + endpoint.authority() + ": " + printable(failure.text),
              "is the service up, and does this machine reach it?"};
  }
}

UpstreamConnection::UpstreamConnection(UpstreamPool& pool, std::string key, net::Endpoint endpoint)
    : pool_(pool),
      key_(std::move(key)),
      endpoint_(std::move(endpoint)),
      timer_(pool.reactor_),
      ready_soon_(pool.reactor_, [this] { ready(); }) {}

void UpstreamConnection::begin(UpstreamUser& user, const UpstreamRequest& request) {
  user_ = &user;
  request_ = request;
  informational_ = 0;
  written_ = false;
  last_activity_ = net::boot_time();
  if (!open_) {
    dial_ = pool_.network_.dial(
        endpoint_, [this](auto stream, const auto&, const auto& failure) { dialled(std::move(stream), failure); });
    return;
  }
  arm_timer();
  reused_ = true;
  ready_soon_.ask();
}

void UpstreamConnection::ready() {
  if (user_ == nullptr) return;
  try {
    user_->upstream_ready();
  } catch (const std::exception& error) {
    fail({503, "out_of_memory", error.what(), "try again when fewer requests are under way"});
  }
}

void UpstreamConnection::dialled(std::unique_ptr<net::Stream> stream, const std::optional<net::DialFailure>& failure) {
  pool_.reactor_.retire(std::move(dial_));
  if (failure) return fail(dial_refusal(endpoint_, *failure));
  stream_ = std::move(stream);
  stream_->set_owner(*this);
  open_ = true;
  last_activity_ = net::boot_time();
  arm_timer();
  ready();
}

void UpstreamConnection::arm_timer() {
  const std::chrono::milliseconds limit =
      user_ == nullptr ? std::chrono::milliseconds(kIdleTimeout) : std::chrono::milliseconds(kSilenceTimeout);
  const auto left = limit - std::chrono::duration_cast<std::chrono::milliseconds>(net::boot_time() - last_activity_);
  timer_.set(std::max(left, std::chrono::milliseconds(1)), [this, limit] {
    // Silent is who says nothing although somebody listens and it was asked something.
    if (user_ != nullptr && (stream_->paused() || upgraded_)) last_activity_ = net::boot_time();
    if (net::boot_time() - last_activity_ < limit) return arm_timer();
    if (user_ == nullptr) return pool_.drop(*this);
    fail({504, "upstream_timeout", endpoint_.authority() + " has been silent for 10 minutes", "try again"});
  });
}

void UpstreamConnection::fail(const Refusal& refusal) {
  log::debug(refusal.message);
  if (user_ == nullptr) return pool_.drop(*this);
  // The user releases this connection.
  UpstreamUser* user = user_;
  user_ = nullptr;
  user->upstream_failed(refusal);
}

void UpstreamConnection::on_data(ByteView bytes) {
  last_activity_ = net::boot_time();
  if (user_ == nullptr) return pool_.drop(*this);  // nobody asked: whatever this is, it is no answer
  if (!written_) return fail(broken(endpoint_, "an answer came before the request"));
  if (body_) return read_body(bytes);
  in_.append(as_text(bytes));
  read_head();
}

void UpstreamConnection::read_head() {
  for (;;) {
    auto parsed = http::parse_response_head(in_);
    if (std::holds_alternative<http::Incomplete>(parsed)) return;
    if (const auto* bad = std::get_if<http::Malformed>(&parsed)) return fail(broken(endpoint_, bad->reason));
    auto& [head, size] = std::get<http::Parsed<http::ResponseHead>>(parsed);
    in_.erase(0, size);
    if (head.status == 101 && request_.websocket) {
      upgraded_ = true;
      return begin_body(head, {http::Framing::Kind::until_end, 0});
    }
    if (head.status < 200) {
      // 100 and 103 are for us; taking one for the answer would give the next request this one's response.
      if (head.status == 101 || ++informational_ > kMaxInformational) {
        return fail(broken(endpoint_, "an unexpected 1xx response"));
      }
      continue;
    }
    const auto framing = http::response_framing(head, request_.method);
    if (!framing) return fail(broken(endpoint_, "ambiguous framing"));
    return begin_body(head, *framing);
  }
}

void UpstreamConnection::begin_body(const http::ResponseHead& head, const http::Framing& framing) {
  keep_alive_ = head.keep_alive() && framing.kind != http::Framing::Kind::until_end;
  body_ = std::make_unique<http::BodyDecoder>(framing);
  user_->upstream_head(head, framing);
  if (user_ == nullptr) return;
  const std::string rest = std::move(in_);
  in_.clear();
  read_body(as_bytes(rest));
}

void UpstreamConnection::read_body(ByteView bytes) {
  const std::size_t used = body_->feed(bytes, [this](ByteView part) {
    if (user_ != nullptr) user_->upstream_body(part);
  });
  if (user_ == nullptr) return;
  if (body_->failed()) return fail(broken(endpoint_, "a malformed body"));
  if (!body_->done()) return;
  if (used < bytes.size()) keep_alive_ = false;  // bytes that nobody asked for: never reuse
  complete();
}

void UpstreamConnection::complete() {
  const http::Fields trailers = body_->trailers();
  body_.reset();
  UpstreamUser* user = user_;
  user_ = nullptr;
  user->upstream_done(trailers);
}

void UpstreamConnection::on_drained() {
  last_activity_ = net::boot_time();
  if (user_ != nullptr) user_->upstream_drained();
}

void UpstreamConnection::on_end() {
  open_ = false;
  keep_alive_ = false;
  if (user_ != nullptr && body_) {
    body_->end_of_input();
    if (body_->done()) return complete();
  }
  fail(broken(endpoint_, "the connection was closed before the response was complete"));
}

void UpstreamConnection::on_failure(const std::string& reason) {
  open_ = false;
  fail(broken(endpoint_, reason));
}

UpstreamConnection& UpstreamPool::acquire(const std::string& key, const net::Endpoint& endpoint,
                                          const UpstreamRequest& request, UpstreamUser& user) {
  UpstreamConnection* connection = nullptr;
  if (const auto found = idle_.find(key); found != idle_.end()) {
    connection = found->second;
    idle_.erase(found);
  } else {
    auto made = std::make_unique<UpstreamConnection>(*this, key, endpoint);
    connection = made.get();
    all_.emplace(connection, std::move(made));
  }
  connection->begin(user, request);
  return *connection;
}

void UpstreamPool::release(UpstreamConnection& connection, bool reusable) {
  connection.user_ = nullptr;
  if (!reusable || !connection.keep_alive_ || !connection.open_ || idle_.size() >= kMaxIdle) return drop(connection);
  connection.last_activity_ = net::boot_time();
  connection.arm_timer();
  connection.resume();  // so that the end of an idle connection is noticed at once
  idle_.emplace(connection.key(), &connection);
}

void UpstreamPool::drop(UpstreamConnection& connection) {
  std::erase_if(idle_, [&](const auto& entry) { return entry.second == &connection; });
  const auto found = all_.find(&connection);
  if (found == all_.end()) return;
  if (connection.stream_) {
    connection.stream_->detach();
    connection.stream_->abandon();
  }
  if (connection.dial_) {
    connection.dial_->give_up();
    reactor_.retire(std::move(connection.dial_));
  }
  connection.timer_.cancel();
  reactor_.retire(std::move(found->second));
  all_.erase(found);
}

}  // namespace agentvault::broker
