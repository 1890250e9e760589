#include "net/name_stub.hpp"

#include <arpa/nameser.h>
#include <netinet/in.h>
#include <resolv.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "base/text.hpp"
#include "net/origin.hpp"

namespace agentvault::net {
namespace {

constexpr std::uint32_t kFirst = 0xc6120001;  // 198.18.0.1
constexpr std::uint32_t kSecondsToLive = 60;  // it never changes while the session lasts
constexpr std::size_t kHeaderSize = 12;
constexpr std::size_t kMaxRequest = 1232;  // what fits without fragments (DNS flag day 2020)
constexpr std::uint8_t kIsResponse = 0x80, kOpcode = 0x78, kRecursionDesired = 0x01, kRecursionAvailable = 0x80;
constexpr std::uint16_t kNameAtQuestion = 0xc000 | kHeaderSize;  // RFC 1035, section 4.1.4

enum Code : std::uint8_t { done = 0, no_such_name = 3, refused = 5 };

struct Question {
  std::string name;
  std::uint16_t type = 0;
  ByteView text;  // as it stood in the request
};

/// Exactly one question, in a query.
std::optional<Question> parse(ByteView request) {
  if (request.size() < kHeaderSize || (request[2] & (kIsResponse | kOpcode)) != 0) return std::nullopt;
  if (read_big_endian(request.subspan(4, 2)) != 1) return std::nullopt;
  const auto* begin = request.data();
  const auto* end = begin + request.size();
  std::array<char, NS_MAXDNAME> name{};
  const int size = ::dn_expand(begin, end, begin + kHeaderSize, name.data(), static_cast<int>(name.size()));
  if (size < 0 || request.size() < kHeaderSize + static_cast<std::size_t>(size) + 4) return std::nullopt;
  const auto rest = request.subspan(kHeaderSize + static_cast<std::size_t>(size));
  if (read_big_endian(rest.subspan(2, 2)) != ns_c_in) return std::nullopt;
  return Question{lower(name.data()), static_cast<std::uint16_t>(read_big_endian(rest.first(2))),
                  request.subspan(kHeaderSize, static_cast<std::size_t>(size) + 4)};
}

}  // namespace

NameStub::NameStub(Reactor& reactor, UniqueFd socket, IsKnown is_known)
    : reactor_(reactor), socket_(std::move(socket)), is_known_(std::move(is_known)) {
  if (socket_) reactor_.add(socket_.get(), EPOLLIN, this);
}

NameStub::~NameStub() {
  if (socket_) reactor_.remove(socket_.get(), this);
}

std::optional<std::string> NameStub::name_of(const Address& address) const {
  if (address.family() != AF_INET) return std::nullopt;
  const auto found = names_.find(ntohl(reinterpret_cast<const sockaddr_in*>(address.get())->sin_addr.s_addr));
  if (found == names_.end()) return std::nullopt;
  return found->second;
}

std::optional<std::uint32_t> NameStub::address_for(const std::string& name) {
  if (const auto found = addresses_.find(name); found != addresses_.end()) return found->second;
  if (addresses_.size() >= kMostNames) return std::nullopt;
  const auto address = kFirst + static_cast<std::uint32_t>(addresses_.size());
  addresses_.emplace(name, address);
  names_.emplace(address, name);
  return address;
}

std::optional<Bytes> NameStub::answer(ByteView request) {
  const auto question = parse(request);
  if (!question) return std::nullopt;
  Code code = done;
  std::optional<std::uint32_t> address;
  if (!valid_host_name(question->name) || !is_known_(question->name)) {
    code = no_such_name;
  } else if (question->type == ns_t_a) {
    address = address_for(question->name);
    if (!address) code = refused;
  }
  ByteWriter out;
  out.raw(request.first(2))
      .u8(kIsResponse | (request[2] & kRecursionDesired))
      .u8(kRecursionAvailable | code)
      .u16(1)
      .u16(address ? 1 : 0)
      .u16(0)
      .u16(0)
      .raw(question->text);
  if (address) out.u16(kNameAtQuestion).u16(ns_t_a).u16(ns_c_in).u32(kSecondsToLive).u16(sizeof *address).u32(*address);
  return out.bytes();
}

void NameStub::on_ready(std::uint32_t) {
  std::array<std::uint8_t, kMaxRequest> request;
  for (;;) {
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    const auto got =
        ::recvfrom(socket_.get(), request.data(), request.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
    if (got < 0) return;
    if (const auto response = answer(ByteView(request).first(static_cast<std::size_t>(got)))) {
      // Whoever cannot take it asks again.
      ::sendto(socket_.get(), response->data(), response->size(), MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&from),
               size);
    }
  }
}

}  // namespace agentvault::net
