#include "catch.hpp"
#include "net/address_guard.hpp"
#include "net/origin.hpp"
#include "net/reactor.hpp"

using namespace agentvault::net;

namespace {
AddressClass kind(const char* text) {
  return classify(*Address::parse_literal(text, 443));
}
}  // namespace

TEST_CASE("private, loopback and special addresses are local in all their forms") {
  for (const char* text : {"127.0.0.1",
                           "127.9.9.9",
                           "10.0.0.1",
                           "172.16.0.1",
                           "172.31.255.255",
                           "192.168.1.1",
                           "169.254.1.1",
                           "100.64.0.1",
                           "100.127.255.255",
                           "0.0.0.0",
                           "224.0.0.1",
                           "255.255.255.255",
                           "198.18.0.1",
                           "192.0.2.1",
                           "::",
                           "::1",
                           "fe80::1",
                           "fc00::1",
                           "fdff::1",
                           "ff02::1",
                           "::127.0.0.1",
                           "::ffff:10.0.0.1",
                           "::ffff:127.0.0.1",
                           "64:ff9b::10.0.0.1",
                           "64:ff9b:1::1",
                           "2002:7f00:1::",
                           "2002:a00:1::",
                           "2001:db8::1",
                           "2001::1"}) {
    INFO(text);
    CHECK(kind(text) == AddressClass::local);
  }
}

TEST_CASE("public addresses are open") {
  for (const char* text : {"1.1.1.1", "172.32.0.1", "172.15.255.255", "100.63.255.255", "100.128.0.1", "192.169.0.1",
                           "11.0.0.1", "2606:4700::1", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::"}) {
    INFO(text);
    CHECK(kind(text) == AddressClass::open);
  }
}

TEST_CASE("metadata services are never reached") {
  for (const char* text : {"169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254",
                           "2002:a9fe:a9fe::", "169.254.170.2", "100.100.100.200"}) {
    INFO(text);
    CHECK(kind(text) == AddressClass::metadata);
  }
}

TEST_CASE("the machine's own addresses count as local") {
  CHECK(classify_on_this_machine(*Address::parse_literal("127.0.0.1", 1)) == AddressClass::local);
}

TEST_CASE("odd spellings of IPv4 are no literals") {
  for (const char* text : {"127.1", "0x7f.0.0.1", "0177.0.0.1", "2130706433", "127.0.0.1 ", "1.2.3.4.5", "::1%lo"}) {
    CHECK_FALSE(Address::parse_literal(text, 1));
  }
}

TEST_CASE("timers run in order, and a cancelled one never") {
  using namespace std::chrono_literals;
  Reactor reactor;
  std::string order;
  Timer second(reactor), first(reactor), cancelled(reactor), anew(reactor);
  second.set(2ms, [&] { order += "b"; });
  first.set(1ms, [&] { order += "a"; });
  cancelled.set(0ms, [&] { order += "x"; });
  cancelled.cancel();
  anew.set(0ms, [&] { order += "x"; });
  anew.set(3ms, [&] { reactor.stop(); });
  {
    Timer destroyed(reactor);
    destroyed.set(0ms, [&] { order += "x"; });
  }
  bool deferred = false;
  reactor.defer([&] { deferred = true; });
  CHECK(first.is_set());
  reactor.run();
  CHECK(order == "ab");
  CHECK(deferred);
  CHECK_FALSE(first.is_set());
}

TEST_CASE("a callback that throws costs nobody else their turn") {
  using namespace std::chrono_literals;
  Reactor reactor;
  std::string order;
  reactor.defer([] { throw std::runtime_error("deferred"); });
  reactor.defer([&] { order += "a"; });
  Timer failing(reactor), ending(reactor);
  failing.set(0ms, [] { throw std::runtime_error("timer"); });
  ending.set(1ms, [&] { reactor.stop(); });
  reactor.run();
  CHECK(order == "a");
}

TEST_CASE("what is retired lives until its callback has returned, and what it wrote was sent") {
  using namespace std::chrono_literals;
  Reactor reactor;
  bool destroyed = false, sent = false;
  struct Thing {
    bool& flag;
    ~Thing() { flag = true; }
  };
  Soon sending(
      reactor,
      [&] {
        CHECK_FALSE(destroyed);
        sent = true;
      },
      true);
  Timer next_turn(reactor);
  reactor.defer([&] {
    reactor.retire(std::make_unique<Thing>(destroyed));
    CHECK_FALSE(destroyed);
    sending.ask();
    next_turn.set(0ms, [&] {
      CHECK(destroyed);
      reactor.stop();
    });
  });
  reactor.run();
  CHECK(sent);
}

TEST_CASE("a turn of the loop: what was put off, once; then before_sending; then what was written is sent") {
  using namespace std::chrono_literals;
  Reactor reactor;
  std::string order;
  Timer ending(reactor);
  Soon send(
      reactor, [&] { order += "S"; }, true);
  Soon again(reactor, [&] { order += "b"; });
  Soon task(reactor, [&] {
    order += "a";
    send.ask();
    again.ask();
    again.ask();
  });
  std::optional<Soon> destroyed(std::in_place, reactor, [&] { order += "x"; });
  Soon destroys(reactor, [&] { destroyed.reset(); });
  reactor.before_sending([&] { order += "|"; });
  task.ask();
  destroys.ask();
  destroyed->ask();
  CHECK(order.empty());
  ending.set(0ms, [&] { reactor.stop(); });
  reactor.run();
  CHECK(order == "ab|S");
  order.clear();
  reactor.before_sending(nullptr);
  send.ask();
  ending.set(0ms, [&] { reactor.stop(); });
  reactor.run();
  CHECK(order == "S");
}

TEST_CASE("a task that puts itself off for ever leaves others their turn") {
  using namespace std::chrono_literals;
  Reactor reactor;
  Timer ending(reactor);
  std::optional<Soon> endless;
  endless.emplace(reactor, [&] { endless->ask(); });
  endless->ask();
  bool ended = false;
  ending.set(1ms, [&] {
    ended = true;
    reactor.stop();
  });
  reactor.run();
  CHECK(ended);
}
