#include "broker/upstream.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "net/address_guard.hpp"

namespace agentvault::broker {
namespace {

constexpr std::chrono::seconds kConnectTimeout{10};
constexpr std::chrono::minutes kSilenceTimeout{10};  // models think long
constexpr std::chrono::seconds kIdleTimeout{30};
constexpr std::size_t kMaxIdle = 256;
constexpr int kMaxInformational = 16;

Refusal unreachable(const net::Origin& origin, const std::string& why) {
  const bool certificate = why.starts_with("certificate");
  return {502, certificate ? "upstream_certificate" : "upstream_unreachable",
          "cannot reach " + origin.text() + ": " + printable(why),
          certificate ? "is the clock right? A private CA is named with \"agentvault add --ca-file\""
                      : "is the service up, and does this machine reach it?"};
}

Refusal broken(const net::Origin& origin, const std::string& why) {
  return {502, "upstream_broken", origin.text() + " broke off: " + printable(why), "try again"};
}

}  // namespace

UpstreamConnection::UpstreamConnection(UpstreamPool& pool, std::string key, const provider::Binding& binding)
    : pool_(pool), key_(std::move(key)), origin_(binding.origin), ca_pem_(binding.ca_pem) {}

UpstreamConnection::~UpstreamConnection() {
  if (timer_armed_) pool_.reactor_.cancel(timer_);
}

void UpstreamConnection::begin(UpstreamUser& user, const std::string& method) {
  user_ = &user;
  method_ = method;
  informational_ = 0;
  written_ = false;
  last_activity_ = net::boot_time();
  arm_timer();
  std::weak_ptr<bool> alive = alive_;
  if (open_) {
    reused_ = true;
    pool_.reactor_.defer([this, alive] {
      if (!alive.expired() && user_ != nullptr) user_->upstream_ready();
    });
    return;
  }
  pool_.resolver_.resolve(
      origin_.host, origin_.port, [this, alive](std::vector<net::Address> found, const std::string& error) {
        if (alive.expired()) return;
        if (found.empty()) return fail(unreachable(origin_, "the name does not resolve (" + error + ")"));
        const bool local_allowed = origin_.names_local_address();
        for (const auto& address : found) {
          // Judged is the very address that will be dialled.
          const auto kind = net::classify_on_this_machine(address);
          if (kind == net::AddressClass::open || (kind == net::AddressClass::local && local_allowed)) {
            addresses_.push_back(address);
          }
        }
        if (addresses_.empty()) {
          return fail({502, "address_refused",
                       origin_.host + " points to a private or local address (" + found.front().text() + ")",
                       "a credential reaches such an address only if its --url names the address itself or localhost"});
        }
        connect();
      });
}

void UpstreamConnection::connect() {
  const net::Address address = addresses_.front();
  addresses_.erase(addresses_.begin());
  try {
    stream_ =
        std::make_unique<net::Stream>(pool_.reactor_, address, pool_.tls_for(ca_pem_).connect(origin_.host), *this);
  } catch (const Error& error) {
    fail(unreachable(origin_, error.what()));
  }
}

void UpstreamConnection::arm_timer() {
  if (timer_armed_) pool_.reactor_.cancel(timer_);
  timer_armed_ = true;
  const std::chrono::milliseconds limit = user_ == nullptr ? std::chrono::milliseconds(kIdleTimeout)
                                          : open_          ? std::chrono::milliseconds(kSilenceTimeout)
                                                           : std::chrono::milliseconds(kConnectTimeout);
  const auto left = limit - std::chrono::duration_cast<std::chrono::milliseconds>(net::boot_time() - last_activity_);
  timer_ = pool_.reactor_.after(std::max(left, std::chrono::milliseconds(1)), [this, limit] {
    timer_armed_ = false;
    // Silent is who says nothing although somebody listens.
    if (user_ != nullptr && open_ && stream_->paused()) last_activity_ = net::boot_time();
    if (net::boot_time() - last_activity_ < limit) return arm_timer();
    if (user_ == nullptr) return pool_.drop(*this);
    if (!open_) return try_next_address("no answer in 10 s");
    fail({504, "upstream_timeout", origin_.text() + " has been silent for 10 minutes", "try again"});
  });
}

void UpstreamConnection::try_next_address(const std::string& last_error) {
  if (addresses_.empty()) return fail(unreachable(origin_, last_error));
  if (stream_) stream_->detach();
  pool_.reactor_.retire(std::move(stream_));
  last_activity_ = net::boot_time();
  arm_timer();
  connect();
}

void UpstreamConnection::fail(const Refusal& refusal) {
  log::debug(refusal.message);
  if (user_ == nullptr) return pool_.drop(*this);
  // The user releases this connection.
  UpstreamUser* user = user_;
  user_ = nullptr;
  user->upstream_failed(refusal);
}

void UpstreamConnection::on_open() {
  open_ = true;
  last_activity_ = net::boot_time();
  arm_timer();
  if (user_ != nullptr) user_->upstream_ready();
}

void UpstreamConnection::on_data(ByteView bytes) {
  last_activity_ = net::boot_time();
  if (user_ == nullptr) return pool_.drop(*this);  // nobody asked: whatever this is, it is no answer
  if (!written_) return fail(broken(origin_, "an answer came before the request"));
  if (body_) return read_body(bytes);
  in_.append(as_text(bytes));
  read_head();
}

void UpstreamConnection::read_head() {
  for (;;) {
    auto parsed = http::parse_response_head(in_);
    if (std::holds_alternative<http::Incomplete>(parsed)) return;
    if (const auto* bad = std::get_if<http::Malformed>(&parsed)) return fail(broken(origin_, bad->reason));
    auto& [head, size] = std::get<http::Parsed<http::ResponseHead>>(parsed);
    in_.erase(0, size);
    if (head.status < 200) {
      // 100 and 103 are for us; taking one for the answer would give the next request this one's response.
      if (head.status == 101 || ++informational_ > kMaxInformational) {
        return fail(broken(origin_, "an unexpected 1xx response"));
      }
      continue;
    }
    const auto framing = http::response_framing(head, method_);
    if (!framing) return fail(broken(origin_, "ambiguous framing"));
    keep_alive_ = head.keep_alive() && framing->kind != http::Framing::Kind::until_end;
    body_ = std::make_unique<http::BodyDecoder>(*framing);
    user_->upstream_head(head, *framing);
    if (user_ == nullptr) return;
    const std::string rest = std::move(in_);
    in_.clear();
    return read_body(as_bytes(rest));
  }
}

void UpstreamConnection::read_body(ByteView bytes) {
  const std::size_t used = body_->feed(bytes, [this](ByteView part) {
    if (user_ != nullptr) user_->upstream_body(part);
  });
  if (user_ == nullptr) return;
  if (body_->failed()) return fail(broken(origin_, "a malformed body"));
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
  fail(broken(origin_, "the connection was closed before the response was complete"));
}

void UpstreamConnection::on_failure(const std::string& reason) {
  if (!open_ && user_ != nullptr && !reason.starts_with("certificate")) return try_next_address(reason);
  const bool was_open = open_;
  open_ = false;
  fail(was_open ? broken(origin_, reason) : unreachable(origin_, reason));
}

UpstreamConnection& UpstreamPool::acquire(const std::string& key, const provider::Binding& binding,
                                          const std::string& method, UpstreamUser& user) {
  UpstreamConnection* connection = nullptr;
  if (const auto found = idle_.find(key); found != idle_.end()) {
    connection = found->second;
    idle_.erase(found);
  } else {
    auto made = std::make_unique<UpstreamConnection>(*this, key, binding);
    connection = made.get();
    all_.emplace(connection, std::move(made));
  }
  connection->begin(user, method);
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
  if (connection.stream_) connection.stream_->detach();
  connection.alive_.reset();
  if (connection.timer_armed_) reactor_.cancel(connection.timer_);
  connection.timer_armed_ = false;
  reactor_.retire(std::move(found->second));
  all_.erase(found);
}

net::TlsClient& UpstreamPool::tls_for(const std::string& ca_pem) {
  auto& client = tls_[ca_pem];
  if (!client) client = std::make_unique<net::TlsClient>(ca_pem);
  return *client;
}

}  // namespace agentvault::broker
