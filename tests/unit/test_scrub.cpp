#include <random>

#include "catch.hpp"
#include "scrub/scrubber.hpp"

using namespace agentvault;
using namespace agentvault::scrub;

namespace {

const std::string kSecret = "sk-stand-in-0123456789abcdef";

Needles needles(std::initializer_list<std::string> secrets) {
  Needles all;
  std::size_t owner = 0;
  for (const auto& text : secrets) all.add(owner++, SecretBytes::copy_of(as_bytes(text)));
  return all;
}

std::string masked(std::string text, const std::string& secret) {
  for (auto at = text.find(secret); at != std::string::npos; at = text.find(secret))
    text.replace(at, secret.size(), secret.size(), '*');
  return text;
}

/// What came out after each chunk, and at the end.
std::vector<std::string> stream(const Needles& all, const std::vector<std::string>& chunks) {
  Scrubber scrubber(all);
  std::vector<std::string> out;
  for (const auto& chunk : chunks) scrubber.feed(as_bytes(chunk), out.emplace_back());
  scrubber.finish(out.emplace_back());
  return out;
}

std::string joined(const std::vector<std::string>& parts) {
  std::string out;
  for (const auto& part : parts) out += part;
  return out;
}

std::vector<std::string> cut(const std::string& text, std::size_t size) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at < text.size(); at += size) parts.push_back(text.substr(at, size));
  return parts;
}

}  // namespace

TEST_CASE("a secret is taken out at equal length, whatever the chunks") {
  const auto all = needles({kSecret});
  const std::string text = "{\"a\":\"" + kSecret + "\"}\n" + kSecret + kSecret + " end";
  for (std::size_t size = 1; size <= text.size(); ++size)
    CHECK(joined(stream(all, cut(text, size))) == masked(text, kSecret));
}

TEST_CASE("several secrets, one inside the other") {
  const std::string longer = kSecret + "-and-more-of-it";
  const auto all = needles({kSecret, longer});
  const auto out = joined(stream(all, cut("x " + longer + " y " + kSecret, 7)));
  CHECK(out == "x " + std::string(longer.size(), '*') + " y " + std::string(kSecret.size(), '*'));
}

TEST_CASE("a PEM is found by its lines, a long run by its pieces") {
  const std::string line1(64, 'A'), line2(64, 'B');
  const auto pem = needles({"-----BEGIN X-----\n" + line1 + "\n" + line2 + "\n"});
  CHECK(joined(stream(pem, {"see " + line2})) == "see " + std::string(64, '*'));
  std::mt19937 random(3);
  std::string run;
  for (int i = 0; i < 700; ++i) run.push_back(static_cast<char>('a' + random() % 26));
  const auto all = needles({run});
  CHECK(joined(stream(all, cut("<" + run + ">", 50))) == "<" + std::string(700, '*') + ">");
}

TEST_CASE("a line end passes at once: no event of a stream waits") {
  const auto all = needles({kSecret});
  for (const std::string event : {"data: hello\n\n", "data: {\"x\":1}\r\n\r\n", "\n", "\t"}) {
    Scrubber scrubber(all);
    std::string out;
    scrubber.feed(as_bytes(event), out);
    CHECK(out == event);
  }
}

TEST_CASE("what is held back does not depend on the secrets") {
  // Random texts, many of which begin like a secret: with any set of secrets, the same sizes come out at the same time.
  std::mt19937 random(5);
  const auto none = needles({});
  const auto one = needles({kSecret});
  const auto other = needles({std::string(300, 'q'), "sk-stand-in-zzzzzzzzzzzzzzzz"});
  for (int round = 0; round < 500; ++round) {
    std::string text;
    while (text.size() < 600) {
      switch (random() % 4) {
        case 0:
          text += kSecret.substr(0, random() % kSecret.size());
          break;
        case 1:
          text += " \n";
          break;
        case 2:
          text += std::string(random() % 300, 'q');
          break;
        default:
          text += static_cast<char>(random() % 256);
      }
    }
    const auto chunks = cut(text, 1 + random() % 40);
    const auto a = stream(none, chunks), b = stream(one, chunks), c = stream(other, chunks);
    for (std::size_t i = 0; i < a.size(); ++i) {
      REQUIRE(a[i].size() == b[i].size());
      REQUIRE(a[i].size() == c[i].size());
    }
  }
}

TEST_CASE("hits name their owners, and short secrets are not looked for") {
  Needles all;
  all.add(4, SecretBytes::copy_of(as_bytes(kSecret)));
  all.add(5, SecretBytes::copy_of(as_bytes("short")));
  Scrubber scrubber(all);
  std::string text = "short " + kSecret;
  scrubber.whole(text);
  CHECK(text == "short " + std::string(kSecret.size(), '*'));
  CHECK(scrubber.hits() == std::vector<std::size_t>{4});
  CHECK(all.found_in("A=" + kSecret));
  CHECK_FALSE(all.found_in("A=short"));
  CHECK_FALSE(all.add(6, SecretBytes::copy_of(as_bytes(kSecret + "\nshort"))));
  CHECK(all.add(7, SecretBytes::copy_of(as_bytes("correct horse battery staple"))));
  CHECK(all.found_in("x correct horse battery staple"));
}
