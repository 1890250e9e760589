// How this process reaches the world: names are resolved, each address is judged, and that very address is dialled; or
// the proxy that exec was started with is asked to.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "net/origin.hpp"
#include "net/outer_proxy.hpp"
#include "net/resolver.hpp"
#include "net/stream.hpp"
#include "net/tls.hpp"

namespace agentvault::net {

/// Where to connect, and how.
struct Endpoint {
  std::string host;  // lower case, a name or a literal without brackets
  std::uint16_t port = 0;
  bool tls = true;
  std::string ca_pem;          // with TLS: the only roots to trust; empty: the system's
  bool local_allowed = false;  // private and local addresses, too; metadata services never

  static Endpoint of(const Origin& origin, const std::string& ca_pem);
  /// "host:port", for people and as a key.
  std::string authority() const { return bracketed(host) + ":" + std::to_string(port); }
  /// For the Host header: without the scheme's default port.
  std::string host_field() const { return port == (tls ? 443 : 80) ? bracketed(host) : authority(); }
};

struct DialFailure {
  enum class Kind { address_refused, certificate, unreachable } kind;
  std::string text;
};

class Network;

/// One attempt. Owners destroy it through Reactor::retire(), after give_up() if it is not over.
class Dial final : public Stream::Owner {
 public:
  /// Exactly one of the two is set. `early`: what the peer said already (never with TLS). Not called from inside
  /// Network::dial. The receiver of the stream must call set_owner().
  using Done = std::function<void(std::unique_ptr<Stream> stream, const std::string& early,
                                  const std::optional<DialFailure>& failure)>;
  Dial(Network& network, Endpoint endpoint, Done done);
  ~Dial() override;
  Dial(const Dial&) = delete;
  Dial& operator=(const Dial&) = delete;
  /// `done` will not be called any more.
  void give_up();

 private:
  void resolve();
  void judge(const std::vector<Address>& found, const std::string& error);
  void try_next(const std::string& last_error);
  void connected(std::string_view early);
  void fail(DialFailure::Kind kind, const std::string& text);
  void arm_timer();
  void drop_stream();

  void on_open() override;
  void on_data(ByteView bytes) override;
  void on_end() override;
  void on_failure(const std::string& reason) override;

  enum class Phase { resolving, connecting, asking_proxy, securing, over };

  Network& network_;
  Endpoint endpoint_;
  Done done_;
  bool through_proxy_;
  Phase phase_ = Phase::resolving;
  std::vector<Address> addresses_;
  std::unique_ptr<Stream> stream_;
  std::string answer_;  // of the proxy, so far
  Timer timer_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

class Network {
 public:
  Network(Reactor& reactor, std::optional<OuterProxy> outer_proxy)
      : reactor_(reactor), resolver_(reactor), outer_proxy_(std::move(outer_proxy)) {}

  std::unique_ptr<Dial> dial(Endpoint endpoint, Dial::Done done) {
    return std::make_unique<Dial>(*this, std::move(endpoint), std::move(done));
  }
  Reactor& reactor() { return reactor_; }

 private:
  friend class Dial;
  TlsClient& tls_for(const std::string& ca_pem);

  Reactor& reactor_;
  Resolver resolver_;
  std::optional<OuterProxy> outer_proxy_;
  std::map<std::string, std::unique_ptr<TlsClient>> tls_;  // by CA
};

}  // namespace agentvault::net
