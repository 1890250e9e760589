#include <random>

#include "catch.hpp"
#include "http/body.hpp"
#include "http/head.hpp"
#include "http/path_pattern.hpp"
#include "http/target.hpp"

using namespace agentvault;
using namespace agentvault::http;

namespace {

const RequestHead* good(const ParseResult<RequestHead>& result) {
  const auto* parsed = std::get_if<Parsed<RequestHead>>(&result);
  return parsed == nullptr ? nullptr : &parsed->head;
}

int refused(const std::string& text) {
  const auto result = parse_request_head(text);
  const auto* bad = std::get_if<Malformed>(&result);
  return bad == nullptr ? 0 : bad->status;
}

std::string with(const std::string& fields) {
  return "POST /x HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n";
}

struct Decoded {
  std::string data;
  bool done;
  bool failed;
  std::size_t used;
  Fields trailers;
};

Decoded decode(Framing framing, std::string_view input, std::size_t step) {
  BodyDecoder decoder(framing);
  Decoded out{};
  for (std::size_t at = 0; at < input.size() && !decoder.done() && !decoder.failed(); at += step) {
    out.used += decoder.feed(as_bytes(input.substr(at, step)), [&](ByteView part) { out.data += as_text(part); });
  }
  out.done = decoder.done();
  out.failed = decoder.failed();
  out.trailers = decoder.trailers();
  return out;
}

constexpr Framing kChunked{Framing::Kind::chunked, 0};

}  // namespace

TEST_CASE("a plain request head is parsed, and its size told") {
  const std::string text = "GET /a?b=c HTTP/1.1\r\nHost: x\r\nX-Two:  spaced \t\r\n\r\nrest";
  const auto result = parse_request_head(text);
  const auto* head = good(result);
  REQUIRE(head != nullptr);
  CHECK(head->method == "GET");
  CHECK(head->target == "/a?b=c");
  CHECK(*head->fields.find("x-two") == "spaced");
  CHECK(head->framing.kind == Framing::Kind::none);
  CHECK(head->keep_alive());
  CHECK(std::get<Parsed<RequestHead>>(result).size == text.size() - 4);
}

TEST_CASE("every prefix of a good head is incomplete") {
  const std::string text = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n";
  for (std::size_t size = 0; size < text.size(); ++size) {
    CHECK(std::holds_alternative<Incomplete>(parse_request_head(text.substr(0, size))));
  }
  CHECK(good(parse_request_head(text)) != nullptr);
  CHECK(good(parse_request_head("\r\n" + text)) != nullptr);  // one empty line before it is ignored
}

TEST_CASE("what two servers could read differently is refused") {
  CHECK(refused("GET / HTTP/1.1\nHost: h\n\n") == 400);
  CHECK(refused("GET / HTTP/1.1\r\nHost: h\n\r\n") == 400);
  CHECK(refused("GET / HTTP/1.1\r\nHost: h\r\nA: b\rC: d\r\n\r\n") == 400);
  CHECK(refused(with("A: b\r\n folded: c\r\n")) == 400);
  CHECK(refused(with("A : b\r\n")) == 400);
  CHECK(refused(with(" A: b\r\n")) == 400);
  CHECK(refused(with("A b: c\r\n")) == 400);
  CHECK(refused(with("no colon\r\n")) == 400);
  CHECK(refused(with(": empty name\r\n")) == 400);
  CHECK(refused(with(std::string("A: b\0c\r\n", 8))) == 400);
  CHECK(refused(with("A: b\x01\r\n")) == 400);
  CHECK(refused(with("A: b\x7f\r\n")) == 400);
  CHECK(refused(with("Host: second\r\n")) == 400);
  CHECK(refused("GET / HTTP/1.1\r\n\r\n") == 400);
  CHECK(refused("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n") == 400);
}

TEST_CASE("ambiguous lengths are refused") {
  CHECK(refused(with("Content-Length: 1\r\nContent-Length: 1\r\n")) == 400);
  CHECK(refused(with("Content-Length: 1\r\nContent-Length: 2\r\n")) == 400);
  CHECK(refused(with("Content-Length: 1, 1\r\n")) == 400);
  CHECK(refused(with("Content-Length: +1\r\n")) == 400);
  CHECK(refused(with("Content-Length: -1\r\n")) == 400);
  CHECK(refused(with("Content-Length: 0x1\r\n")) == 400);
  CHECK(refused(with("Content-Length: \r\n")) == 400);
  CHECK(refused(with("Content-Length: 99999999999999999999\r\n")) == 400);
  CHECK(refused(with("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n")) == 400);
  CHECK(refused(with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")) == 501);
  CHECK(refused(with("Transfer-Encoding: gzip, chunked\r\n")) == 501);
  CHECK(refused(with("Transfer-Encoding: xchunked\r\n")) == 501);
  CHECK(refused(with("Transfer-Encoding: identity\r\n")) == 501);
  CHECK(refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n") == 400);
  CHECK(good(parse_request_head(with("Transfer-Encoding: Chunked\r\n")))->framing.kind == Framing::Kind::chunked);
  CHECK(good(parse_request_head(with("Content-Length: 007\r\n")))->framing.length == 7);
  for (const char* field : {"Content_Length: 3", "transfer_encoding: chunked", "Transfer_Encoding: x"}) {
    INFO(field);
    CHECK(refused(with("Content-Length: 5\r\n" + std::string(field) + "\r\n")) == 400);
  }
}

TEST_CASE("request lines are strict") {
  CHECK(refused("GET  / HTTP/1.1\r\nHost: h\r\n\r\n") == 400);
  CHECK(refused("GET /a b HTTP/1.1\r\nHost: h\r\n\r\n") == 400);
  CHECK(refused("GET / HTTP/1.1 \r\nHost: h\r\n\r\n") == 400);
  CHECK(refused("GET / http/1.1\r\nHost: h\r\n\r\n") == 400);
  CHECK(refused("GET / HTTP/2.0\r\nHost: h\r\n\r\n") == 505);
  CHECK(refused("GET / HTTP/1.2\r\nHost: h\r\n\r\n") == 505);
  CHECK(refused("GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n") == 400);
  CHECK(refused("G@T / HTTP/1.1\r\nHost: h\r\n\r\n") == 400);
  CHECK(refused("GET /\xc3\xa4 HTTP/1.1\r\nHost: h\r\n\r\n") == 400);
  CHECK(refused("GET\r\nHost: h\r\n\r\n") == 400);
  CHECK(refused("GET /" + std::string(17000, 'a') + " HTTP/1.1\r\nHost: h\r\n\r\n") == 414);
  CHECK(refused("GET / HTTP/1.1\r\nHost: h\r\nA: " + std::string(70000, 'a')) == 431);
  std::string many;
  for (int i = 0; i < 200; ++i) many += "A: b\r\n";
  CHECK(refused(with(many)) == 400);
}

TEST_CASE("response framing follows the status and the request's method") {
  const auto framing = [](const std::string& text, const char* method) -> std::optional<Framing> {
    const auto result = parse_response_head(text);
    const auto* parsed = std::get_if<Parsed<ResponseHead>>(&result);
    return parsed == nullptr ? std::nullopt : response_framing(parsed->head, method);
  };
  CHECK(framing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "GET")->length == 5);
  CHECK(framing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD")->kind == Framing::Kind::none);
  CHECK(framing("HTTP/1.1 204 \r\n\r\n", "GET")->kind == Framing::Kind::none);
  CHECK(framing("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET")->kind == Framing::Kind::none);
  CHECK(framing("HTTP/1.1 200\r\n\r\n", "GET")->kind == Framing::Kind::until_end);
  CHECK(framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET")->kind == Framing::Kind::chunked);
  CHECK_FALSE(framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", "GET"));
  CHECK_FALSE(framing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "GET"));
  CHECK_FALSE(framing("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET"));
  CHECK_FALSE(framing("HTTP/1.1 2000 OK\r\n\r\n", "GET"));
  CHECK_FALSE(framing("HTTP/2 200 OK\r\n\r\n", "GET"));
  CHECK_FALSE(framing("HTTP/1.1 099 X\r\n\r\n", "GET"));
}

TEST_CASE("chunked bodies decode the same at every split") {
  const std::string wire = "5\r\nhello\r\n6;ext=\"x\"\r\n world\r\n0\r\nX-Sum: 1\r\n\r\nNEXT";
  for (std::size_t step = 1; step <= wire.size(); ++step) {
    const auto out = decode(kChunked, wire, step);
    CHECK(out.done);
    CHECK(out.data == "hello world");
    CHECK(out.used == wire.size() - 4);
    CHECK(*out.trailers.find("x-sum") == "1");
  }
}

TEST_CASE("broken chunked bodies fail and hand nothing over after the fault") {
  for (const char* wire : {"5\nhello", "5 \r\nhello", "g\r\n", "\r\n", ";x\r\n", "-1\r\n", "0x5\r\nhello",
                           "5\r\nhelloX\r\n", "5\r\nhello\rX", "00000000000005\r\n", "1ffffffffffffff\r\n",
                           "0\r\nbad trailer\r\n\r\n", "0\r\n\n", "0\r\nA: b\n\r\n", "5;\x01\r\nhello"}) {
    const auto out = decode(kChunked, wire, 1);
    CHECK(out.failed);
    CHECK((out.data == "" || out.data == "hello"));
  }
  CHECK(decode(kChunked, "5;" + std::string(300, 'x') + "\r\n", 7).failed);
  CHECK(decode(kChunked, "0\r\nA: " + std::string(20000, 'x'), 999).failed);
}

TEST_CASE("a counted body takes its bytes and no more") {
  const auto out = decode({Framing::Kind::length, 5}, "hello world", 3);
  CHECK(out.done);
  CHECK(out.data == "hello");
  CHECK(out.used == 5);
  BodyDecoder cut(Framing{Framing::Kind::length, 5});
  cut.feed(as_bytes("abc"), [](ByteView) {});
  cut.end_of_input();
  CHECK(cut.failed());
  BodyDecoder open_ended(Framing{Framing::Kind::until_end, 0});
  open_ended.end_of_input();
  CHECK(open_ended.done());
}

TEST_CASE("what is written as chunks decodes to the same bytes") {
  std::mt19937 random(1);
  std::string wire, plain;
  for (int i = 0; i < 100; ++i) {
    std::string part(random() % 40, static_cast<char>(random()));
    write_chunk(as_bytes(part), wire);
    plain += part;
  }
  Fields trailers;
  trailers.add("X-A", "b");
  write_last_chunk(trailers, wire);
  const auto out = decode(kChunked, wire, 13);
  CHECK(out.done);
  CHECK(out.data == plain);
}

TEST_CASE("targets have one normal form") {
  const auto normal = [](const char* text) {
    const auto parsed = parse_target(text);
    const auto* target = std::get_if<Target>(&parsed);
    return target == nullptr ? std::string("refused") : target->text();
  };
  CHECK(normal("/v1/models") == "/v1/models");
  CHECK(normal("/%76%31/a%2bb") == "/v1/a%2Bb");
  CHECK(normal("/a/?x=%2F..;y[]={z}") == "/a/?x=%2F..;y[]={z}");
  CHECK(normal("/?") == "/?");
  CHECK(normal("/caf%c3%a9/%e2%82%ac/%F0%9F%94%91") == "/caf%C3%A9/%E2%82%AC/%F0%9F%94%91");
  for (const char* bad :
       {"",      "a",         "*",           "http://h/", "//a",       "/a//b",  "/a/../b",  "/a/.",
        "/..",   "/%2e%2e/a", "/a%2Fb",      "/a%5cb",    "/a;b",      "/a\\b",  "/a%3bb",   "/a%",
        "/a%4",  "/a%zz",     "/a%00",       "/a%252e",   "/a%0d%0ab", "/a%7f",  "/a%C0%AE", "/a%E0%80%AE",
        "/a%ff", "/a%C3",     "/a%ED%A0%80", "/a#b",      "/a\"b",     "/a?b#c", "/a b"}) {
    CHECK(normal(bad) == "refused");
  }
}

TEST_CASE("path patterns match by segment") {
  const auto matches = [](const char* pattern, const char* path) { return PathPattern::parse(pattern)->matches(path); };
  CHECK(matches("/v1/models", "/v1/models"));
  CHECK_FALSE(matches("/v1/models", "/v1/models/"));
  CHECK_FALSE(matches("/v1/models", "/v1/model"));
  CHECK(matches("/v1/*/x", "/v1/abc/x"));
  CHECK(matches("/v1/*", "/v1/"));
  CHECK_FALSE(matches("/v1/*", "/v1/a/b"));
  CHECK(matches("/v1/gpt-*-mini", "/v1/gpt-5-mini"));
  CHECK_FALSE(matches("/v1/gpt-*-mini", "/v1/gpt-5-maxi"));
  CHECK(matches("/a*b*c", "/axxbyybzc"));
  CHECK_FALSE(matches("/a*b*c", "/axxbyybz"));
  CHECK(matches("/**", "/"));
  CHECK(matches("/v1/**", "/v1/a/b"));
  CHECK_FALSE(matches("/v1/**", "/v1"));
  CHECK_FALSE(matches("/v1/**", "/v2/a"));
  CHECK(matches("/", "/"));
  CHECK_FALSE(matches("/", "/a"));
  CHECK(matches("/repos/**/issues", "/repos/a/issues"));
  CHECK(matches("/repos/**/issues", "/repos/a/b/issues"));
  CHECK(matches("/repos/**/issues", "/repos/issues/issues/issues"));
  CHECK_FALSE(matches("/repos/**/issues", "/repos/issues"));
  CHECK_FALSE(matches("/repos/**/issues", "/repos/a/issues/1"));
  CHECK_FALSE(matches("/repos/**/issues", "/repos/a/xissues"));
  CHECK(matches("/a/**/b*/**/c", "/a/b/b/bb/x/c"));
  CHECK_FALSE(matches("/a/**/b/**/c", "/a/b/b/c"));
  CHECK(matches("/**/**", "/a/b"));
  CHECK_FALSE(matches("/**/**", "/a"));
  CHECK(matches("/wiki/Z\u00fcrich", "/wiki/Z%C3%BCrich"));
  CHECK(PathPattern::parse("/wiki/Z\u00fcrich")->text() == "/wiki/Z%C3%BCrich");
  for (const char* bad : {"", "v1", "/a**", "/**a/b", "/a/***", "/a?b", "/../x", "/a//b", "/a/\xff"})
    CHECK_FALSE(PathPattern::parse(bad));
}

TEST_CASE("hop-by-hop fields go, and those that Connection names") {
  Fields fields;
  for (const char* name : {"Connection", "Keep-Alive", "X-Mine", "TE", "Upgrade", "X-Stays"})
    fields.add(name, "close, x-mine");
  remove_hop_by_hop(fields);
  REQUIRE(fields.list().size() == 1);
  CHECK(fields.has("x-stays"));
}
