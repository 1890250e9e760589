#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <type_traits>

#include "base/crypto.hpp"
#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/p256.hpp"
#include "base/text.hpp"
#include "catch.hpp"
#include "scratch.hpp"

using namespace agentvault;

namespace {
SecretBytes secret(std::string_view text) {
  return SecretBytes::copy_of(as_bytes(text));
}
SecretBytes secret_hex(const char* text) {
  return SecretBytes::copy_of(*unhex(text));
}
}  // namespace

TEST_CASE("hex, base64url and base64 read only what they write") {
  CHECK(hex(Bytes{0, 0x1f, 0xff}) == "001fff");
  CHECK(unhex("001fFF") == Bytes{0, 0x1f, 0xff});
  CHECK_FALSE(unhex("0"));
  CHECK_FALSE(unhex("0g"));
  // RFC 4648, section 10
  const std::pair<const char*, const char*> vectors[] = {
      {"", ""},           {"f", "Zg"},          {"fo", "Zm8"},         {"foo", "Zm9v"},
      {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, coded] : vectors) {
    CHECK(base64url(as_bytes(plain)) == coded);
    CHECK(as_text(*unbase64url(coded)) == plain);
  }
  CHECK_FALSE(unbase64url("Zg=="));
  CHECK_FALSE(unbase64url("Zh"));  // spare bits set
  CHECK_FALSE(unbase64url("Z"));
  CHECK_FALSE(unbase64url("Zm 9v"));
  CHECK(as_text(*unbase64("Zm9vYg==")) == "foob");
  CHECK_FALSE(unbase64("Zm9vYg="));
  CHECK_FALSE(unbase64(" m9v"));
  CHECK_FALSE(unbase64("===="));
  CHECK(as_text(base64_secret(as_bytes("sk:")).reveal()) == "c2s6");
  CHECK(as_text(percent_encode_secret(as_bytes("a+b/ %~")).reveal()) == "a%2Bb%2F%20%25~");
}

TEST_CASE("HMAC and HKDF agree with their RFCs") {
  // RFC 4231, case 2
  CHECK(hex(hmac_sha256(as_bytes("Jefe"), as_bytes("what do ya want for nothing?"))) ==
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  // RFC 5869, case 3: no salt, no info, first 32 bytes
  CHECK(hex(hkdf_sha256(secret_hex("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"), {}).reveal()) ==
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d");
  CHECK(hex(sha256(as_bytes("abc"))) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_CASE("an AEAD box opens with its key and associated data, and with nothing else") {
  const SecretBytes key = random_secret(32);
  const Bytes box = aead_seal(key, as_bytes("bound"), as_bytes("plain"));
  CHECK(as_text(aead_open(key, as_bytes("bound"), box)->reveal()) == "plain");
  CHECK_FALSE(aead_open(key, as_bytes("other"), box));
  CHECK_FALSE(aead_open(random_secret(32), as_bytes("bound"), box));
  for (std::size_t i = 0; i < box.size(); ++i) {
    Bytes flipped = box;
    flipped[i] ^= 1;
    CHECK_FALSE(aead_open(key, as_bytes("bound"), flipped));
    CHECK_FALSE(aead_open(key, as_bytes("bound"), ByteView(box).first(i)));
  }
  CHECK(aead_seal(key, {}, {}) != aead_seal(key, {}, {}));  // random nonces
  CHECK(aead_open(key, {}, aead_seal(key, {}, {}))->empty());
}

TEST_CASE("scrypt depends on passphrase and salt") {
  const auto out = scrypt(secret("pin"), as_bytes("salt"));
  CHECK(out.size() == 32);
  CHECK(constant_time_equal(out.reveal(), scrypt(secret("pin"), as_bytes("salt")).reveal()));
  CHECK_FALSE(constant_time_equal(out.reveal(), scrypt(secret("pjn"), as_bytes("salt")).reveal()));
  CHECK_FALSE(constant_time_equal(out.reveal(), scrypt(secret("pin"), as_bytes("salt2")).reveal()));
}

TEST_CASE("a counter key survives its private form") {
  const P256Key key = P256Key::generate();
  const P256Key again = P256Key::from_private_der(key.private_der());
  CHECK(again.x() == key.x());
  CHECK(again.y() == key.y());
  CHECK_THROWS_AS(P256Key::from_private_der(secret("no key")), Error);
}

TEST_CASE("SecretBytes move and never copy") {
  static_assert(!std::is_copy_constructible_v<SecretBytes> && !std::is_copy_assignable_v<SecretBytes>);
  SecretBytes a = secret("0123456789");
  SecretBytes b = std::move(a);
  CHECK(a.empty());
  CHECK(as_text(b.reveal()) == "0123456789");
  b.shrink(4);
  CHECK(as_text(b.reveal()) == "0123");
  b.append(as_bytes("ab"));
  CHECK(as_text(b.reveal()) == "0123ab");
  b = secret("x");
  CHECK(as_text(b.reveal()) == "x");
}

TEST_CASE("released SecretBytes leave nothing behind") {
  SecretBytes a = secret("a needle in the arena");
  const auto* address = a.reveal().data();
  const Bytes before(address, address + a.size());
  { const SecretBytes gone = std::move(a); }
  // The secure arena stays mapped, so looking at released memory of it is defined enough to test.
  CHECK_FALSE(std::equal(before.begin(), before.end(), address));
}

TEST_CASE("an exhausted arena is an error, not a fallback to ordinary memory") {
  std::vector<SecretBytes> many;
  CHECK_THROWS_AS(
      [&] {
        for (;;) many.emplace_back(std::size_t{512} << 10);
      }(),
      Error);
  CHECK(many.size() >= 4);
}

TEST_CASE("durations, numbers and names are parsed strictly") {
  using namespace std::chrono_literals;
  CHECK(parse_duration("90s") == 90s);
  CHECK(parse_duration("15m") == 15min);
  CHECK(parse_duration("7d") == 168h);
  for (const char* bad : {"", "s", "15", "0s", "-1s", "1.5h", "1w", "99999999999999999999s", "400d"})
    CHECK_FALSE(parse_duration(bad));
  CHECK(format_duration(15min) == "15m");
  CHECK(format_duration(12h) == "12h");
  CHECK(format_duration(61s) == "61s");
  CHECK(parse_unsigned("18446744073709551615") == UINT64_MAX);
  for (const char* bad : {"", "-1", "+1", " 1", "18446744073709551616", "0x1"}) CHECK_FALSE(parse_unsigned(bad));
  for (const char* good : {"openai", "a", "my-key.2_x", "0"}) CHECK(valid_name(good));
  for (const char* bad : {"", "-a", ".a", "A", "a b", "a/b", "\xc3\xa4"}) CHECK_FALSE(valid_name(bad));
  CHECK_FALSE(valid_name(std::string(65, 'a')));
  CHECK(valid_variable("_KEY2"));
  for (const char* bad : {"", "2KEY", "A-B", "A=B", "A B"}) CHECK_FALSE(valid_variable(bad));
  CHECK(printable("a\x1b[31m\xff\\") == "a\\x1b[31m\\xff\\x5c");
  CHECK(printable("aaaaaa", 3) == "aaa...");
}

TEST_CASE("a file is replaced whole, privately, and reading is bounded") {
  const Scratch scratch;
  const auto file = scratch / "file";
  CHECK_FALSE(read_file(file, 10));
  replace_file(file, as_bytes("one"));
  replace_file(file, as_bytes("two"));
  CHECK(as_text(*read_file(file, 3)) == "two");
  CHECK_THROWS_AS(read_file(file, 2), Error);
  struct stat info {};
  REQUIRE(::stat(file.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
  CHECK_FALSE(std::filesystem::exists(file.string() + ".new"));
}

TEST_CASE("a lock keeps others out and ends with its holder") {
  using namespace std::chrono_literals;
  const Scratch scratch;
  const auto file = scratch / "lock";
  CHECK_FALSE(FileLock::held_by_someone(file));
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto lock = FileLock::acquire(file, 0ms);
    [[maybe_unused]] const auto written = ::write(ready[1], lock ? "y" : "n", 1);
    ::pause();
    ::_exit(0);
  }
  char answer = 0;
  REQUIRE(::read(ready[0], &answer, 1) == 1);
  CHECK(answer == 'y');
  CHECK(FileLock::held_by_someone(file));
  CHECK_FALSE(FileLock::acquire(file, 0ms));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  CHECK_FALSE(FileLock::held_by_someone(file));
  CHECK(FileLock::acquire(file, 0ms));
  ::close(ready[0]);
  ::close(ready[1]);
}
