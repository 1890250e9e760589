#include "net/network.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "net/address_guard.hpp"

namespace agentvault::net {
namespace {

constexpr std::chrono::seconds kPatience{10};  // for each address
constexpr std::size_t kMaxProxyAnswer = 16 * 1024;
constexpr std::string_view kEndOfHead = "\r\n\r\n";

bool may_dial(const Address& address, bool local_allowed) {
  const auto kind = classify_on_this_machine(address);
  return kind == AddressClass::open || (kind == AddressClass::local && local_allowed);
}

/// "HTTP/1.1 200 OK" and every other 2xx (RFC 9110 section 9.3.6).
bool is_success(std::string_view answer) {
  return answer.size() > 12 && (answer.starts_with("HTTP/1.1 2") || answer.starts_with("HTTP/1.0 2"));
}

}  // namespace

Endpoint Endpoint::of(const Origin& origin, const std::string& ca_pem) {
  return {origin.host, origin.port, true, ca_pem, origin.names_local_address()};
}

Dial::Dial(Network& network, Endpoint endpoint, Done done)
    : network_(network),
      endpoint_(std::move(endpoint)),
      done_(std::move(done)),
      through_proxy_(network.outer_proxy_ && !network.outer_proxy_->bypassed_for(endpoint_.host, endpoint_.port) &&
                     !endpoint_.local_allowed),
      timer_(network.reactor_) {
  arm_timer();
  try {
    resolve();
  } catch (const std::exception& error) {
    std::weak_ptr<bool> alive = alive_;
    const std::string text = error.what();
    network_.reactor_.defer([this, alive, text] {
      if (!alive.expired()) fail(DialFailure::Kind::unreachable, text);
    });
  }
}

Dial::~Dial() {
  give_up();
}

void Dial::give_up() {
  phase_ = Phase::over;
  timer_.cancel();
  drop_stream();
}

void Dial::arm_timer() {
  timer_.set(kPatience, [this] { try_next("no answer in 10 s"); });
}

void Dial::resolve() {
  std::weak_ptr<bool> alive = alive_;
  const auto answer = [this, alive](const std::vector<Address>& found, const std::string& error) {
    if (!alive.expired() && phase_ == Phase::resolving) judge(found, error);
  };
  if (!through_proxy_) return network_.resolver_.resolve(endpoint_.host, endpoint_.port, answer);
  // The proxy will resolve the name: what can be judged here is the name, or a literal.
  const auto literal = Address::parse_literal(endpoint_.host, endpoint_.port);
  if (is_local_name(endpoint_.host) || (literal && !may_dial(*literal, false))) {
    return network_.reactor_.defer([this, alive] {
      if (!alive.expired()) fail(DialFailure::Kind::address_refused, endpoint_.host + " is a private or local address");
    });
  }
  network_.resolver_.resolve(network_.outer_proxy_->host(), network_.outer_proxy_->port(), answer);
}

void Dial::judge(const std::vector<Address>& found, const std::string& error) {
  if (found.empty()) return fail(DialFailure::Kind::unreachable, "the name does not resolve (" + error + ")");
  for (const auto& address : found) {
    // Judged is the very address that will be dialled. The outer proxy's is the user's own choice.
    if (through_proxy_ || may_dial(address, endpoint_.local_allowed)) addresses_.push_back(address);
  }
  if (addresses_.empty()) {
    return fail(DialFailure::Kind::address_refused,
                endpoint_.host + " points to a private or local address (" + found.front().text() + ")");
  }
  try_next("");
}

void Dial::drop_stream() {
  if (!stream_) return;
  stream_->detach();
  network_.reactor_.retire(std::move(stream_));
}

void Dial::try_next(const std::string& last_error) {
  drop_stream();
  answer_.clear();
  if (addresses_.empty()) return fail(DialFailure::Kind::unreachable, last_error);
  const Address address = addresses_.front();
  addresses_.erase(addresses_.begin());
  phase_ = Phase::connecting;
  arm_timer();
  try {
    stream_ = std::make_unique<Stream>(network_.reactor_, address, *this);
  } catch (const std::exception& error) {
    fail(DialFailure::Kind::unreachable, error.what());
  }
}

void Dial::on_open() {
  if (phase_ == Phase::connecting && through_proxy_) {
    phase_ = Phase::asking_proxy;
    stream_->write(network_.outer_proxy_->connect_request(endpoint_.host, endpoint_.port).reveal());
  } else {
    connected("");
  }
}

void Dial::on_data(ByteView bytes) {
  if (phase_ != Phase::asking_proxy) return fail(DialFailure::Kind::unreachable, "an answer came before the request");
  answer_.append(as_text(bytes));
  const auto end = answer_.find(kEndOfHead);
  if (end == std::string::npos) {
    if (answer_.size() > kMaxProxyAnswer) fail(DialFailure::Kind::unreachable, "the outer proxy does not speak HTTP");
    return;
  }
  if (!is_success(answer_)) {
    const auto line = std::string_view(answer_).substr(0, answer_.find("\r\n"));
    return fail(DialFailure::Kind::unreachable, "the outer proxy refused: " + printable(line, 80));
  }
  connected(std::string_view(answer_).substr(end + kEndOfHead.size()));
}

/// The way to the endpoint stands, in clear, or (second time) in TLS.
void Dial::connected(std::string_view early) {
  if (endpoint_.tls && phase_ != Phase::securing) {
    phase_ = Phase::securing;
    try {
      stream_->begin_tls(network_.tls_for(endpoint_.ca_pem).connect(endpoint_.host), as_bytes(early));
    } catch (const std::exception& error) {
      fail(DialFailure::Kind::unreachable, error.what());
    }
    return;
  }
  phase_ = Phase::over;
  timer_.cancel();
  done_(std::move(stream_), std::string(early), std::nullopt);
}

void Dial::on_end() {
  try_next("the connection was closed at once");
}

void Dial::on_failure(const std::string& reason) {
  if (reason.starts_with("certificate")) return fail(DialFailure::Kind::certificate, reason);
  try_next(reason);
}

void Dial::fail(DialFailure::Kind kind, const std::string& text) {
  if (phase_ == Phase::over) return;
  give_up();
  done_(nullptr, "", DialFailure{kind, text});
}

TlsClient& Network::tls_for(const std::string& ca_pem) {
  auto& client = tls_[ca_pem];
  if (!client) client = std::make_unique<TlsClient>(ca_pem);
  return *client;
}

}  // namespace agentvault::net
