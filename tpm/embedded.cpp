#include "tpm/embedded.hpp"

extern "C" {
#include <libtpms/tpm_error.h>
#include <libtpms/tpm_library.h>
#include <libtpms/tpm_memory.h>
#include <libtpms/tpm_nvfilename.h>
}

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string_view>

#include "base/crypto.hpp"
#include "base/error.hpp"
#include "base/file.hpp"

namespace agentvault::tpm {
namespace {

constexpr std::string_view kMagic = "AVTPM1\r\n";  // a transfer that changes line ends breaks it
constexpr std::size_t kMaxState = std::size_t{1} << 20;
constexpr std::size_t kSaltSize = 16;
constexpr std::size_t kWrappedKeySize = 12 + 32 + 16;
constexpr std::size_t kSlotSize = kSaltSize + kWrappedKeySize;
constexpr std::size_t kMaxSlots = 4;
constexpr std::chrono::seconds kLockPatience{10};

[[noreturn]] void damaged() {
  throw Error(ErrorKind::tpm, "the state of the embedded TPM is damaged",
              "restore the vault from a backup: without this state its keys cannot be opened");
}

/// The file format: magic | slot count (1) | slots | box. Without a PIN there are no slots, and SHA-256 | state in
/// place of the box: libtpms must not be handed what a broken disk has made of it.
class State {
 public:
  explicit State(std::filesystem::path file) : file_(std::move(file)) {}

  /// Empty contents: a TPM that was never started.
  Bytes load(const PinSource& pin) {
    auto contents = read_own_file(file_, kMaxState);
    if (!contents) return {};
    const ByteView all(*contents);
    if (all.size() <= kMagic.size() || as_text(all.first(kMagic.size())) != kMagic) damaged();
    const ByteView rest = all.subspan(kMagic.size());
    return rest[0] == 0 ? check_plain(rest.subspan(1)) : decrypt(rest, pin);
  }

  void store(ByteView state) {
    ByteWriter out;
    if (key_.empty()) {
      out.raw(as_bytes(kMagic)).u8(0).raw(sha256(state)).raw(state);
      return replace_file(file_, out.bytes());
    }
    out.raw(as_bytes(kMagic)).u8(static_cast<std::uint8_t>(slots_.size() / kSlotSize)).raw(slots_);
    out.raw(aead_seal(key_, associated(), state));
    replace_file(file_, out.bytes());
  }

  /// A fresh key, and this PIN alone opens it.
  void encrypt_from_now_on(const SecretBytes& pin) {
    key_ = random_secret(32);
    slots_.clear();
    add_slot(pin);
  }

  /// The PIN that was given, and this one: what a change that was cut short has left goes. Nothing to do while the
  /// state is not encrypted.
  void accept_also(const SecretBytes& pin) {
    if (key_.empty()) return;
    slots_ = opened_slot_;
    add_slot(pin);
  }

  std::size_t slots() const { return slots_.size() / kSlotSize; }

  void keep_opened_slot() {
    key_ = random_secret(32);
    slots_.assign(opened_slot_.begin(), opened_slot_.begin() + kSaltSize);
    const Bytes wrapped = aead_seal(opened_with_, as_bytes(kMagic), key_.reveal());
    slots_.insert(slots_.end(), wrapped.begin(), wrapped.end());
  }

 private:
  void add_slot(const SecretBytes& pin) {
    const Bytes salt = random_bytes(kSaltSize);
    const Bytes wrapped = aead_seal(scrypt(pin, salt), as_bytes(kMagic), key_.reveal());
    slots_.insert(slots_.end(), salt.begin(), salt.end());
    slots_.insert(slots_.end(), wrapped.begin(), wrapped.end());
  }

  static Bytes check_plain(ByteView rest) {
    constexpr std::size_t hash_size = std::tuple_size_v<Digest>;
    if (rest.size() <= hash_size) damaged();
    const Digest hash = sha256(rest.subspan(hash_size));
    if (!std::equal(hash.begin(), hash.end(), rest.begin())) damaged();
    return {rest.begin() + hash_size, rest.end()};
  }

  Bytes decrypt(ByteView rest, const PinSource& pin) {
    if (rest[0] > kMaxSlots || rest.size() < 1 + rest[0] * kSlotSize) damaged();
    const std::size_t slots_size = rest[0] * kSlotSize;
    slots_.assign(rest.begin() + 1, rest.begin() + 1 + static_cast<std::ptrdiff_t>(slots_size));
    unwrap_key(pin());
    const auto state = aead_open(key_, associated(), rest.subspan(1 + slots_size));
    if (!state) damaged();
    const auto bytes = state->reveal();
    return {bytes.begin(), bytes.end()};
  }

  void unwrap_key(const SecretBytes& pin) {
    for (std::size_t at = 0; at < slots_.size(); at += kSlotSize) {
      const ByteView slot = ByteView(slots_).subspan(at, kSlotSize);
      SecretBytes stretched = scrypt(pin, slot.first(kSaltSize));
      auto key = aead_open(stretched, as_bytes(kMagic), slot.subspan(kSaltSize));
      if (key) {
        key_ = std::move(*key);
        opened_slot_.assign(slot.begin(), slot.end());
        opened_with_ = std::move(stretched);
        return;
      }
    }
    throw Error(ErrorKind::pin, "wrong PIN", "try again; nothing was changed");
  }

  Bytes associated() const {
    ByteWriter out;
    out.raw(as_bytes(kMagic)).blob(slots_);
    return out.bytes();
  }

  std::filesystem::path file_;
  SecretBytes key_;
  Bytes slots_;
  Bytes opened_slot_;
  SecretBytes opened_with_;  // what the PIN stretched to
};

constexpr std::array<std::uint8_t, 12> kStartupClear{0x80, 1, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0};
constexpr std::array<std::uint8_t, 12> kShutdownClear{0x80, 1, 0, 0, 0, 12, 0, 0, 0x01, 0x45, 0, 0};

class EmbeddedTransport;
EmbeddedTransport* the_only_one = nullptr;  // libtpms' callbacks carry no context

class EmbeddedTransport final : public Transport, public StatePins {
 public:
  EmbeddedTransport(const std::filesystem::path& directory, const PinSource& pin)
      : lock_(lock(directory)), state_(directory / "state") {
    if (the_only_one != nullptr) throw Error(ErrorKind::tpm, "the embedded TPM is already open in this process");
    loaded_ = state_.load(pin);
    the_only_one = this;
    try {
      start();
    } catch (...) {
      TPMLIB_Terminate();
      the_only_one = nullptr;
      throw;
    }
  }
  ~EmbeddedTransport() override {
    try {
      // An orderly stop; a failure to write it costs only the orderliness.
      exchange(kShutdownClear);
    } catch (...) {
    }
    TPMLIB_Terminate();
    TPM_Free(buffer_);
    the_only_one = nullptr;
  }
  EmbeddedTransport(const EmbeddedTransport&) = delete;
  EmbeddedTransport& operator=(const EmbeddedTransport&) = delete;

  Bytes exchange(ByteView command) override {
    Bytes copy(command.begin(), command.end());  // libtpms wants it writable
    std::uint32_t size = 0;
    const TPM_RESULT result =
        TPMLIB_Process(&buffer_, &size, &capacity_, copy.data(), static_cast<std::uint32_t>(copy.size()));
    wipe(copy);
    if (!write_error_.empty()) throw Error(ErrorKind::tpm, write_error_, "free some space, then try again");
    if (result != TPM_SUCCESS) throw Error(ErrorKind::tpm, "the embedded TPM failed", "its state may be damaged");
    return {buffer_, buffer_ + size};
  }

  StatePins* state_pins() override { return this; }
  void accept_also(const SecretBytes& pin) override {
    state_.accept_also(pin);
    rewrite();
  }
  std::size_t count() const override { return state_.slots(); }
  void keep_the_one_given() override {
    state_.keep_opened_slot();
    rewrite();
  }
  void accept_only(const SecretBytes& pin) override {
    state_.encrypt_from_now_on(pin);
    rewrite();
  }

 private:
  void rewrite() {
    unsigned char* data = nullptr;
    std::uint32_t size = 0;
    if (TPMLIB_GetState(TPMLIB_STATE_PERMANENT, &data, &size) != TPM_SUCCESS) damaged();
    const std::unique_ptr<unsigned char, void (*)(unsigned char*)> owned(data, TPM_Free);
    state_.store({data, size});
    wipe({data, size});
  }

  static FileLock lock(const std::filesystem::path& directory) {
    make_private_directory(directory);
    auto held = FileLock::acquire(directory / "lock", kLockPatience);
    if (!held) {
      throw Error(ErrorKind::tpm, "another process is using the embedded TPM",
                  "wait for it: \"fuser " + (directory / "lock").string() + "\" names it");
    }
    return std::move(*held);
  }

  void start() {
    libtpms_callbacks callbacks{};
    callbacks.sizeOfStruct = sizeof callbacks;
    callbacks.tpm_nvram_init = [] { return TPM_RESULT{TPM_SUCCESS}; };
    callbacks.tpm_nvram_loaddata = load_data;
    callbacks.tpm_nvram_storedata = store_data;
    callbacks.tpm_nvram_deletename = [](std::uint32_t, const char*, TPM_BOOL) { return TPM_RESULT{TPM_SUCCESS}; };
    callbacks.tpm_io_init = [] { return TPM_RESULT{TPM_SUCCESS}; };
    callbacks.tpm_io_getlocality = [](TPM_MODIFIER_INDICATOR* locality, std::uint32_t) {
      *locality = 0;
      return TPM_RESULT{TPM_SUCCESS};
    };
    callbacks.tpm_io_getphysicalpresence = [](TPM_BOOL* present, std::uint32_t) {
      *present = 0;
      return TPM_RESULT{TPM_SUCCESS};
    };
    TPMLIB_SetDebugLevel(0);  // it would print on stderr
    if (TPMLIB_ChooseTPMVersion(TPMLIB_TPM_VERSION_2) != TPM_SUCCESS ||
        TPMLIB_RegisterCallbacks(&callbacks) != TPM_SUCCESS || TPMLIB_MainInit() != TPM_SUCCESS) {
      damaged();
    }
    const Bytes answer = exchange(kStartupClear);
    if (answer.size() < 10 || read_big_endian(ByteView(answer).subspan(6, 4)) != 0) damaged();
  }

  static bool is_permanent(const char* name) { return std::string_view(name) == TPM_PERMANENT_ALL_NAME; }

  static TPM_RESULT load_data(unsigned char** data, std::uint32_t* size, std::uint32_t, const char* name) {
    const Bytes& loaded = the_only_one->loaded_;
    if (!is_permanent(name) || loaded.empty()) return TPM_RETRY;  // libtpms' word for "there is none"
    if (TPM_Malloc(data, static_cast<std::uint32_t>(loaded.size())) != TPM_SUCCESS) return TPM_FAIL;
    std::memcpy(*data, loaded.data(), loaded.size());
    *size = static_cast<std::uint32_t>(loaded.size());
    return TPM_SUCCESS;
  }

  static TPM_RESULT store_data(const unsigned char* data, std::uint32_t size, std::uint32_t, const char* name) {
    if (!is_permanent(name)) return TPM_SUCCESS;  // volatile state serves suspending, which we never do
    try {
      the_only_one->state_.store({data, size});
    } catch (const std::exception& error) {
      the_only_one->write_error_ = error.what();  // no exception may cross C
      return TPM_FAIL;
    }
    return TPM_SUCCESS;
  }

  FileLock lock_;
  State state_;
  Bytes loaded_;
  unsigned char* buffer_ = nullptr;
  std::uint32_t capacity_ = 0;
  std::string write_error_;
};

}  // namespace

std::unique_ptr<Transport> open_embedded(const std::filesystem::path& directory, const PinSource& pin) {
  return std::make_unique<EmbeddedTransport>(directory, pin);
}

bool embedded_state_exists(const std::filesystem::path& directory) {
  std::error_code error;
  return std::filesystem::exists(directory / "state", error) || error;
}

bool embedded_state_is_encrypted(const std::filesystem::path& directory) {
  const auto contents = read_own_file(directory / "state", kMaxState);
  return contents && contents->size() > kMagic.size() && (*contents)[kMagic.size()] != 0;
}

void create_encrypted_state(const std::filesystem::path& directory, const SecretBytes& pin) {
  make_private_directory(directory);
  State state(directory / "state");
  state.encrypt_from_now_on(pin);
  state.store({});
}

}  // namespace agentvault::tpm
