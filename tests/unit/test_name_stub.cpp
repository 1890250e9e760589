#include <arpa/inet.h>

#include "catch.hpp"
#include "net/name_stub.hpp"

using namespace agentvault;
using namespace agentvault::net;

namespace {

/// A query as RFC 1035, section 4.1 lays it out.
Bytes query(std::uint16_t id, const std::vector<std::string>& labels, std::uint16_t type,
            std::uint16_t flags = 0x0100) {
  ByteWriter out;
  out.u16(id).u16(flags).u16(1).u16(0).u16(0).u16(0);
  for (const auto& label : labels) out.u8(static_cast<std::uint8_t>(label.size())).raw(as_bytes(label));
  return out.u8(0).u16(type).u16(1).bytes();
}

constexpr std::uint16_t kA = 1, kMx = 15, kAaaa = 28, kSvcb = 64, kHttps = 65;

struct Reply {
  unsigned code, answers;
  std::string address;
};

Reply read(const std::optional<Bytes>& bytes) {
  REQUIRE(bytes);
  REQUIRE(bytes->size() >= 12);
  Reply reply{static_cast<unsigned>((*bytes)[3] & 0xf), static_cast<unsigned>((*bytes)[7]), ""};
  CHECK(((*bytes)[2] & 0x80) != 0);
  if (reply.answers == 1) {
    const auto* end = bytes->data() + bytes->size();
    reply.address = std::to_string(end[-4]) + "." + std::to_string(end[-3]) + "." + std::to_string(end[-2]) + "." +
                    std::to_string(end[-1]);
  }
  return reply;
}

struct Stub {
  Reactor reactor;
  NameStub stub{reactor, UniqueFd(),
                [](const std::string& name) { return name == "api.example.org" || name.ends_with(".example.net"); }};
};

}  // namespace

TEST_CASE("each known name gets an address of its own, and keeps it") {
  Stub s;
  const auto first = read(s.stub.answer(query(7, {"api", "example", "org"}, kA)));
  CHECK(first.code == 0);
  CHECK(first.address == "198.18.0.1");
  CHECK(read(s.stub.answer(query(8, {"a", "example", "net"}, kA))).address == "198.18.0.2");
  // Names are the same in any case.
  CHECK(read(s.stub.answer(query(9, {"API", "Example", "ORG"}, kA))).address == "198.18.0.1");
  CHECK(s.stub.name_of(*Address::parse_literal("198.18.0.1", 443)) == "api.example.org");
  CHECK_FALSE(s.stub.name_of(*Address::parse_literal("198.18.0.3", 443)));
  CHECK_FALSE(s.stub.name_of(*Address::parse_literal("::1", 443)));
}

TEST_CASE("an answer repeats the number and the question of its request") {
  Stub s;
  const auto request = query(0xabcd, {"api", "example", "org"}, kA);
  const auto answer = *s.stub.answer(request);
  CHECK(answer[0] == 0xab);
  CHECK(answer[1] == 0xcd);
  CHECK(std::equal(request.begin() + 12, request.end(), answer.begin() + 12));
}

TEST_CASE("there are IPv4 addresses only, and other names do not exist") {
  Stub s;
  for (const auto type : {kAaaa, kHttps, kSvcb, kMx}) {
    const auto reply = read(s.stub.answer(query(1, {"api", "example", "org"}, type)));
    CHECK(reply.code == 0);
    CHECK(reply.answers == 0);
  }
  CHECK(read(s.stub.answer(query(1, {"evil", "example", "com"}, kA))).code == 3);
  CHECK(read(s.stub.answer(query(1, {"exfiltrated data", "example", "net"}, kA))).code == 3);
  CHECK(read(s.stub.answer(query(1, {}, kA))).code == 3);
}

TEST_CASE("what is no question is not answered") {
  Stub s;
  const auto good = query(1, {"api", "example", "org"}, kA);
  for (std::size_t size = 0; size < good.size(); ++size) CHECK_FALSE(s.stub.answer(ByteView(good).first(size)));
  CHECK_FALSE(s.stub.answer(query(1, {"api", "example", "org"}, kA, 0x8100)));  // a response
  CHECK_FALSE(s.stub.answer(query(1, {"api", "example", "org"}, kA, 0x2900)));  // an update
  auto two = good;
  two[5] = 2;
  CHECK_FALSE(s.stub.answer(two));
  // A name that points at itself.
  auto loop = Bytes(good.begin(), good.begin() + 12);
  loop = ByteWriter().raw(loop).u16(0xc00c).u16(1).u16(1).bytes();
  CHECK_FALSE(s.stub.answer(loop));
}

TEST_CASE("names are bounded") {
  Reactor reactor;
  NameStub stub(reactor, UniqueFd(), [](const std::string&) { return true; });
  for (std::size_t i = 0; i < NameStub::kMostNames; ++i) {
    CHECK(read(stub.answer(query(1, {"n" + std::to_string(i), "example"}, kA))).code == 0);
  }
  CHECK(read(stub.answer(query(1, {"one-more", "example"}, kA))).code == 5);
  CHECK(read(stub.answer(query(1, {"n1", "example"}, kA))).address == "198.18.0.2");
}
