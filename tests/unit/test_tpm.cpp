#include <tss2/tss2_tpm2_types.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/encoding.hpp"
#include "base/file.hpp"
#include "catch.hpp"
#include "scratch.hpp"
#include "tpm/embedded.hpp"
#include "tpm/epoch_counter.hpp"
#include "tpm/filter.hpp"
#include "tpm/policy_digest.hpp"
#include "tpm/sealed_key.hpp"
#include "tpm/storage_root.hpp"

using namespace agentvault;
using namespace agentvault::tpm;

namespace {

const TransportName kEmbedded{TransportKind::embedded, ""};

SecretBytes no_pin() {
  throw Error(ErrorKind::pin, "asked for a PIN");
}
SecretBytes secret(std::string_view text) {
  return SecretBytes::copy_of(as_bytes(text));
}

/// A response: tag, size, code, body.
Bytes response(std::uint16_t tag, std::uint32_t code, const Bytes& body) {
  ByteWriter out;
  out.u16(tag).u32(static_cast<std::uint32_t>(10 + body.size())).u32(code).raw(body);
  return out.bytes();
}

/// Passes everything to the TPM under it, and changes what `change` wants changed.
class Tampering final : public Transport {
 public:
  Tampering(std::unique_ptr<Transport> below, std::function<void(std::uint32_t, Bytes&)> change)
      : below_(std::move(below)), change_(std::move(change)) {}
  Bytes exchange(ByteView command) override {
    Bytes answer = below_->exchange(command);
    change_(static_cast<std::uint32_t>(read_big_endian(command.subspan(6, 4))), answer);
    return answer;
  }

 private:
  std::unique_ptr<Transport> below_;
  std::function<void(std::uint32_t, Bytes&)> change_;
};

/// Writes down every byte that crosses the bus.
class Recording final : public Transport {
 public:
  Recording(std::unique_ptr<Transport> below, Bytes& log) : below_(std::move(below)), log_(log) {}
  Bytes exchange(ByteView command) override {
    log_.insert(log_.end(), command.begin(), command.end());
    Bytes answer = below_->exchange(command);
    log_.insert(log_.end(), answer.begin(), answer.end());
    return answer;
  }

 private:
  std::unique_ptr<Transport> below_;
  Bytes& log_;
};

struct Provisioned {
  explicit Provisioned(Tpm& tpm)
      : key(P256Key::generate()),
        storage_root(provision_storage_root(tpm)),
        counter(define_counter(tpm, storage_root, key)) {}
  SealingTerms at(std::uint64_t epoch) const { return {storage_root, counter, epoch, {}, {}}; }
  std::uint64_t epoch(Tpm& tpm) const { return read_counter(tpm, storage_root, counter); }
  P256Key key;
  Bytes storage_root;
  Bytes counter;
};

}  // namespace

TEST_CASE("policy digests equal systemd's numbers") {
  std::ifstream file(shared_vectors() / "tpm/policy-digests.json");
  if (!file) {
    WARN("SKIPPED: " << (shared_vectors() / "tpm").string() << " is absent");
    return;
  }
  const auto vectors = nlohmann::json::parse(file);
  PolicyDigest digest;
  CHECK(hex(digest.auth_value().value()) == vectors["policy_auth_value"]["after_1"].get<std::string>());
  CHECK(hex(digest.auth_value().value()) == vectors["policy_auth_value"]["after_2"].get<std::string>());
}

TEST_CASE("malformed responses are refused before anybody parses them") {
  const std::uint32_t unseal = TPM2_CC_Unseal, load = TPM2_CC_Load;
  CHECK(well_formed_response(unseal, response(TPM2_ST_NO_SESSIONS, 0x126, {})));
  CHECK_FALSE(well_formed_response(unseal, response(TPM2_ST_NO_SESSIONS, 0x126, {1})));
  CHECK_FALSE(well_formed_response(unseal, response(TPM2_ST_SESSIONS, 0x126, {})));
  CHECK_FALSE(well_formed_response(unseal, Bytes(9)));
  CHECK_FALSE(well_formed_response(unseal, Bytes(5000)));
  Bytes longer = response(TPM2_ST_NO_SESSIONS, 0, {1, 2, 3});
  longer.push_back(0);
  CHECK_FALSE(well_formed_response(unseal, longer));
  CHECK_FALSE(well_formed_response(load, response(TPM2_ST_NO_SESSIONS, 0, {1, 2, 3})));  // no room for a handle
  CHECK_FALSE(well_formed_response(unseal, response(0x1234, 0, {})));

  // parameters "0003 616263", one session: no nonce, attributes, no HMAC
  const auto answer = [](std::uint32_t parameters, std::uint16_t inner, std::uint8_t attributes, const Bytes& tail) {
    ByteWriter body;
    body.u32(parameters).u16(inner).raw(Bytes{'a', 'b', 'c'}).u16(0).u8(attributes).u16(0).raw(tail);
    return response(TPM2_ST_SESSIONS, 0, body.bytes());
  };
  CHECK(well_formed_response(unseal, answer(5, 3, 0x40, {})));
  CHECK_FALSE(well_formed_response(unseal, answer(6, 3, 0x40, {})));
  CHECK_FALSE(well_formed_response(unseal, answer(0xffffffff, 3, 0x40, {})));
  CHECK_FALSE(
      well_formed_response(unseal, answer(5, 4, 0x40, {})));    // GHSA-7638-f8gq-c475: inner size past the parameters
  CHECK(well_formed_response(unseal, answer(5, 4, 0x00, {})));  // not encrypted: ESYS unmarshals it with bounds
  CHECK_FALSE(well_formed_response(unseal, answer(5, 3, 0x40, {9})));
}

TEST_CASE("what is sealed comes back until the counter passes, and never after") {
  const Scratch scratch;
  Tpm tpm(kEmbedded, scratch / "tpm", no_pin);
  const Provisioned made(tpm);
  const std::uint64_t epoch = made.epoch(tpm);
  const auto now = seal(tpm, made.at(epoch), secret("master"), nullptr, DictionaryAttack::ignore);
  const auto next = seal(tpm, made.at(epoch + 1), secret("newer"), nullptr, DictionaryAttack::ignore);
  CHECK(as_text(unseal(tpm, made.at(epoch), now, nullptr).reveal()) == "master");
  CHECK(as_text(unseal(tpm, made.at(epoch + 1), next, nullptr).reveal()) == "newer");
  increment_counter(tpm, made.storage_root, made.counter, made.key);
  CHECK(made.epoch(tpm) == epoch + 1);
  CHECK(as_text(unseal(tpm, made.at(epoch + 1), next, nullptr).reveal()) == "newer");
  try {
    unseal(tpm, made.at(epoch), now, nullptr);
    FAIL("an old epoch unsealed");
  } catch (const TpmError& error) {
    CHECK(refusal(error.rc()) == Refusal::policy);
    CHECK(error.kind() == ErrorKind::integrity);
  }
  // Claiming a later epoch for the old blob does not satisfy its policy.
  CHECK_THROWS_AS(unseal(tpm, made.at(epoch + 1), now, nullptr), TpmError);
}

TEST_CASE("unsealing takes four commands, five with a PIN") {
  const Scratch scratch;
  Tpm tpm(kEmbedded, scratch / "tpm", no_pin);
  const Provisioned made(tpm);
  const SecretBytes pin = secret("stretched");
  const auto epoch = made.epoch(tpm);
  const auto plain = seal(tpm, made.at(epoch), secret("a"), nullptr, DictionaryAttack::ignore);
  const auto bound = seal(tpm, made.at(epoch), secret("b"), &pin, DictionaryAttack::ignore);
  const auto count = [&](const SealedKey& key, const SecretBytes* auth) {
    const auto before = tpm.commands().size();
    unseal(tpm, made.at(epoch), key, auth);
    const auto& all = tpm.commands();
    return std::count_if(all.begin() + static_cast<std::ptrdiff_t>(before), all.end(),
                         [](auto code) { return code != TPM2_CC_FlushContext; });
  };
  CHECK(count(plain, nullptr) == 4);
  CHECK(count(bound, &pin) == 5);
}

TEST_CASE("a wrong PIN is told apart from everything else") {
  const Scratch scratch;
  Tpm tpm(kEmbedded, scratch / "tpm", no_pin);
  const Provisioned made(tpm);
  const SecretBytes right = secret("right"), wrong = secret("wrong");
  const auto epoch = made.epoch(tpm);
  const auto key = seal(tpm, made.at(epoch), secret("m"), &right, DictionaryAttack::ignore);
  try {
    unseal(tpm, made.at(epoch), key, &wrong);
    FAIL("a wrong PIN worked");
  } catch (const TpmError& error) {
    CHECK(error.kind() == ErrorKind::pin);
  }
  CHECK(as_text(unseal(tpm, made.at(epoch), key, &right).reveal()) == "m");
  // No leftovers: many failures do not fill the TPM.
  for (int i = 0; i < 10; ++i) CHECK_THROWS_AS(unseal(tpm, made.at(epoch), key, &wrong), TpmError);
  CHECK(as_text(unseal(tpm, made.at(epoch), key, &right).reveal()) == "m");
}

TEST_CASE("a stranger cannot advance the counter") {
  const Scratch scratch;
  Tpm tpm(kEmbedded, scratch / "tpm", no_pin);
  const Provisioned made(tpm);
  const auto before = made.epoch(tpm);
  CHECK_THROWS_AS(increment_counter(tpm, made.storage_root, made.counter, P256Key::generate()), TpmError);
  CHECK(made.epoch(tpm) == before);
}

TEST_CASE("two vaults in one TPM have counters of their own") {
  const Scratch scratch;
  Tpm tpm(kEmbedded, scratch / "tpm", no_pin);
  const Provisioned one(tpm), two(tpm);
  CHECK(one.storage_root == two.storage_root);
  CHECK(one.counter != two.counter);
  undefine_counter(tpm, one.counter);
  CHECK_THROWS_AS(one.epoch(tpm), TpmError);
  CHECK_NOTHROW(two.epoch(tpm));
}

TEST_CASE("no byte of the secret or of the auth value crosses the bus in clear") {
  const Scratch scratch;
  Bytes log;
  Tpm tpm(std::make_unique<Recording>(open_embedded(scratch / "tpm", no_pin), log), true);
  const Provisioned made(tpm);
  const SecretBytes key = random_secret(32), auth = random_secret(32);
  const auto epoch = made.epoch(tpm);
  const auto sealed = seal(tpm, made.at(epoch), key, &auth, DictionaryAttack::ignore);
  CHECK(constant_time_equal(unseal(tpm, made.at(epoch), sealed, &auth).reveal(), key.reveal()));
  for (const auto* value : {&key, &auth}) {
    for (std::size_t at = 0; at + 8 <= value->size(); ++at) {
      const auto part = value->reveal().subspan(at, 8);
      CHECK(std::search(log.begin(), log.end(), part.begin(), part.end()) == log.end());
    }
  }
}

TEST_CASE("a response changed on the bus is noticed, whichever byte") {
  const Scratch scratch;
  bool armed = false;
  std::size_t position = 0, last_size = 0;
  auto tamper = [&](std::uint32_t command, Bytes& answer) {
    if (!armed || command != TPM2_CC_Unseal) return;
    last_size = answer.size();
    if (position < answer.size()) answer[position] ^= 0x01;
  };
  const auto dir = scratch / "tpm";
  SealingTerms terms;
  SealedKey sealed;
  {
    Tpm tpm(kEmbedded, dir, no_pin);
    const Provisioned made(tpm);
    terms = made.at(made.epoch(tpm));
    sealed = seal(tpm, terms, secret("master key of the vault"), nullptr, DictionaryAttack::ignore);
  }
  armed = true;
  do {
    Tpm tpm(std::make_unique<Tampering>(open_embedded(dir, no_pin), tamper), true);
    INFO("byte " << position);
    try {
      const auto out = unseal(tpm, terms, sealed, nullptr);
      FAIL("a changed response was accepted");
    } catch (const Error&) {
    }
    position += 3;
  } while (position < last_size);
}

TEST_CASE("an encrypted embedded state opens with its PIN only") {
  const Scratch scratch;
  const auto dir = scratch / "tpm";
  create_encrypted_state(dir, secret("1234"));
  const PinSource right = [] { return secret("1234"); };
  {
    Tpm tpm(kEmbedded, dir, right);
    provision_storage_root(tpm);
  }
  const auto stored = read_file(dir / "state", 1 << 20);
  REQUIRE(stored);
  CHECK(as_text(ByteView(*stored).first(6)) == "AVTPM1");
  CHECK(embedded_state_is_encrypted(dir));
  try {
    Tpm tpm(kEmbedded, dir, [] { return secret("4321"); });
    FAIL("a wrong PIN opened the state");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::pin);
  }
  CHECK(read_file(dir / "state", 1 << 20) == stored);
  CHECK_NOTHROW(Tpm(kEmbedded, dir, right));
  Bytes flipped = *read_file(dir / "state", 1 << 20);
  flipped[flipped.size() / 2] ^= 1;
  replace_file(dir / "state", flipped);
  CHECK_THROWS_AS(Tpm(kEmbedded, dir, right), Error);
  // And it can be opened again in this process after all those failures.
  flipped[flipped.size() / 2] ^= 1;
  replace_file(dir / "state", flipped);
  CHECK_NOTHROW(Tpm(kEmbedded, dir, right));
}

TEST_CASE("a damaged embedded state is an error with a next step") {
  const Scratch scratch;
  const auto dir = scratch / "tpm";
  {
    Tpm tpm(kEmbedded, dir, no_pin);
    provision_storage_root(tpm);
  }
  CHECK_FALSE(embedded_state_is_encrypted(dir));
  Bytes state = *read_file(dir / "state", 1 << 20);
  state[state.size() / 2] ^= 1;
  replace_file(dir / "state", state);
  try {
    Tpm tpm(kEmbedded, dir, no_pin);
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::tpm);
    CHECK_FALSE(error.hint().empty());
  }
}

TEST_CASE("transport names") {
  for (const char* text : {"device:/dev/tpmrm0", "swtpm:path=/run/x.sock", "tabrmd", "embedded", "cmd:proxy"}) {
    CHECK(TransportName::parse(text).text() == text);
  }
  for (const char* bad : {"", "device:", "swtpm:", "swtpm:host=h", "swtpm:path=/x,host=h,port=1", "device:/x,y",
                          "libtss2.so", "embedded:x"})
    CHECK_THROWS_AS(TransportName::parse(bad), Error);
  // Stored names are read before anything is authenticated: never a command, never a library.
  for (const char* bad : {"cmd:touch /tmp/x", "auto", "/path/evil.so:x", "pcap:device", "swtpm:path=x",
                          "swtpm:path=/x,host=h", "device:tpm"}) {
    try {
      TransportName::parse_stored(bad);
      FAIL("accepted " << bad);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::integrity);
    }
  }
}

TEST_CASE("response codes are told apart, whatever handle or parameter they name") {
  CHECK(refusal(0x126) == Refusal::policy);
  CHECK(refusal(0x921) == Refusal::lockout);
  CHECK(refusal(0x98e) == Refusal::auth);
  CHECK(refusal(0x9a2) == Refusal::auth);
  CHECK(refusal(0x18b) == Refusal::handle);
  CHECK(refusal(0x1df) == Refusal::integrity);
  CHECK(refusal(0x902) == Refusal::out_of_memory);
  CHECK(refusal(0x903) == Refusal::out_of_memory);
  CHECK(refusal(0x14b) == Refusal::nv_space);
  CHECK(refusal(0x920) == Refusal::nv_rate);
  CHECK(refusal(0x0c0126) == Refusal::policy);        // through a resource manager
  CHECK(refusal(0x7001b) == Refusal::none_of_these);  // ESYS' own
  CHECK(explain(0x921, "Unseal").kind() == ErrorKind::pin);
  CHECK(explain(0x98e, "Unseal").kind() == ErrorKind::pin);
  CHECK(explain(0x9a2, "NV_DefineSpace").kind() == ErrorKind::tpm);
}
