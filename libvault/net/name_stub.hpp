// Answers name requests of a sandbox and forwards none: each name gets an address of its own, which stands for it and
// leads nowhere but to whoever asks what it stands for. Nothing that is asked leaves the machine.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/bytes.hpp"
#include "base/file.hpp"
#include "net/address.hpp"
#include "net/reactor.hpp"

namespace agentvault::net {

class NameStub final : public Watcher {
 public:
  /// Whether a name (lower case, without a final dot) is to be given an address; for others "no such name" is answered.
  using IsKnown = std::function<bool(const std::string& name)>;

  /// Serves a bound UDP socket.
  NameStub(Reactor& reactor, UniqueFd socket, IsKnown is_known);
  ~NameStub() override;
  NameStub(const NameStub&) = delete;
  NameStub& operator=(const NameStub&) = delete;

  /// The name that an address of 198.18.0.0/15 (RFC 2544: never on the internet) was given to.
  std::optional<std::string> name_of(const Address& address) const;

  /// To one request (RFC 1035, section 4); nothing for what is none. IPv4 addresses only: for every other type a known
  /// name has no records.
  std::optional<Bytes> answer(ByteView request);

  static constexpr std::size_t kMostNames = 65536;

 private:
  void on_ready(std::uint32_t events) override;
  std::optional<std::uint32_t> address_for(const std::string& name);

  Reactor& reactor_;
  UniqueFd socket_;
  IsKnown is_known_;
  std::map<std::string, std::uint32_t> addresses_;  // host byte order
  std::map<std::uint32_t, std::string> names_;
};

}  // namespace agentvault::net
