#include "net/address_guard.hpp"

#include <ifaddrs.h>

#include <array>
#include <cstring>

#include "base/bytes.hpp"

namespace agentvault::net {
namespace {

struct Range4 {
  std::uint32_t network;
  int bits;
};

constexpr std::uint32_t ip(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d) {
  return a << 24 | b << 16 | c << 8 | d;
}

// IANA special-purpose registry (RFC 6890 and its successors): everything that is not globally reachable.
constexpr std::array kLocal4{
    Range4{ip(0, 0, 0, 0), 8},     Range4{ip(10, 0, 0, 0), 8},      Range4{ip(100, 64, 0, 0), 10},
    Range4{ip(127, 0, 0, 0), 8},   Range4{ip(169, 254, 0, 0), 16},  Range4{ip(172, 16, 0, 0), 12},
    Range4{ip(192, 0, 0, 0), 24},  Range4{ip(192, 0, 2, 0), 24},    Range4{ip(192, 168, 0, 0), 16},
    Range4{ip(198, 18, 0, 0), 15}, Range4{ip(198, 51, 100, 0), 24}, Range4{ip(203, 0, 113, 0), 24},
    Range4{ip(224, 0, 0, 0), 3},
};
constexpr std::array kMetadata4{ip(169, 254, 169, 254), ip(169, 254, 170, 2), ip(100, 100, 100, 200),
                                ip(168, 63, 129, 16), ip(192, 0, 0, 192)};

AddressClass classify4(std::uint32_t address) {
  for (auto metadata : kMetadata4) {
    if (address == metadata) return AddressClass::metadata;
  }
  for (const auto& range : kLocal4) {
    if ((address ^ range.network) >> (32 - range.bits) == 0) return AddressClass::local;
  }
  return AddressClass::open;
}

bool starts_with(ByteView bytes, std::initializer_list<std::uint8_t> prefix) {
  return std::equal(prefix.begin(), prefix.end(), bytes.begin());
}

std::uint32_t ipv4_at(ByteView bytes, std::size_t offset) {
  return static_cast<std::uint32_t>(read_big_endian(bytes.subspan(offset, 4)));
}

AddressClass classify6(ByteView a) {
  if (starts_with(a, {0xfd, 0x00, 0x0e, 0xc2}) && read_big_endian(a.last(8)) == 0x254) return AddressClass::metadata;
  if (starts_with(a, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff})) return classify4(ipv4_at(a, 12));
  if (starts_with(a, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})) return AddressClass::local;  // ::, ::1, IPv4-compatible
  if (starts_with(a, {0, 0x64, 0xff, 0x9b})) {
    return starts_with(a, {0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0}) ? classify4(ipv4_at(a, 12))
                                                                         : AddressClass::local;
  }
  if (starts_with(a, {0x20, 0x02})) return classify4(ipv4_at(a, 2));
  const bool global_unicast = (a[0] & 0xe0) == 0x20;
  if (!global_unicast) return AddressClass::local;
  const bool special = starts_with(a, {0x20, 0x01, 0x0d, 0xb8}) || (starts_with(a, {0x20, 0x01}) && a[2] < 2);
  return special ? AddressClass::local : AddressClass::open;
}

ByteView raw(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    return {reinterpret_cast<const std::uint8_t*>(&reinterpret_cast<const sockaddr_in*>(address)->sin_addr), 4};
  }
  return {reinterpret_cast<const std::uint8_t*>(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr), 16};
}

}  // namespace

AddressClass classify(const Address& address) {
  const ByteView bytes = raw(address.get());
  return address.family() == AF_INET ? classify4(ipv4_at(bytes, 0)) : classify6(bytes);
}

AddressClass classify_on_this_machine(const Address& address) {
  const AddressClass general = classify(address);
  if (general != AddressClass::open) return general;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return AddressClass::local;  // fail closed
  bool own = false;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != address.family()) continue;
    const ByteView mine = raw(entry->ifa_addr);
    own = own || std::equal(mine.begin(), mine.end(), raw(address.get()).begin());
  }
  ::freeifaddrs(list);
  return own ? AddressClass::local : AddressClass::open;
}

bool is_local_name(const std::string& host) {
  return host == "localhost" || host.ends_with(".localhost") || host == "metadata" ||
         host == "metadata.google.internal" || host.ends_with(".metadata.google.internal");
}

}  // namespace agentvault::net
