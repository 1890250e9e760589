#include "base/secret_bytes.hpp"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/error.hpp"

namespace agentvault {
namespace {

// Power of two, as CRYPTO_secure_malloc_init asks. Half of the usual RLIMIT_MEMLOCK (8 MiB).
constexpr std::size_t kArenaSize = std::size_t{4} << 20;
constexpr std::size_t kSmallestBlock = 32;

void prepare_arena() {
  static const bool ready = [] { return CRYPTO_secure_malloc_init(kArenaSize, kSmallestBlock) != 0; }();
  if (!ready) throw Error(ErrorKind::failed, "cannot reserve memory for secrets");
}

/// Pages that only this process sees. Each costs the kernel about as much as a system call per page that is touched, so
/// that there are few of them, for what stays. Given out once: what is released there is wiped, and not used again.
class HiddenPages {
 public:
  static std::uint8_t* take(std::size_t size) {
    static HiddenPages pages;
    const std::size_t rounded = (size + kAlignment - 1) / kAlignment * kAlignment;
    if (pages.begin_ == nullptr || rounded > kHiddenSize - pages.used_) return nullptr;
    auto* place = pages.begin_ + pages.used_;
    pages.used_ += rounded;
    return place;
  }

 private:
  static constexpr std::size_t kHiddenSize = std::size_t{256} << 10;
  static constexpr std::size_t kAlignment = 16;

  HiddenPages() {
    void* place = map_secret();
    if (place == MAP_FAILED) place = map_locked();
    // Not a child's either: the process that holds an agent is one.
    if (place != MAP_FAILED && ::madvise(place, kHiddenSize, MADV_DONTFORK) == 0) {
      begin_ = static_cast<std::uint8_t*>(place);
    }
  }
  static void* map_secret() {
    const int fd = static_cast<int>(::syscall(SYS_memfd_secret, O_CLOEXEC));
    if (fd < 0) return MAP_FAILED;
    void* place = MAP_FAILED;
    if (::ftruncate(fd, kHiddenSize) == 0) {
      place = ::mmap(nullptr, kHiddenSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    ::close(fd);
    return place;
  }
  /// Where the kernel has no secret ones: as the heap for secrets, locked as far as that is allowed.
  static void* map_locked() {
    void* place = ::mmap(nullptr, kHiddenSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (place == MAP_FAILED || ::madvise(place, kHiddenSize, MADV_DONTDUMP) != 0) return MAP_FAILED;
    ::mlock(place, kHiddenSize);
    return place;
  }

  std::uint8_t* begin_ = nullptr;
  std::size_t used_ = 0;
};

}  // namespace

SecretBytes::SecretBytes(std::size_t size) : size_(size) {
  if (size == 0) return;
  prepare_arena();
  // zalloc, not malloc: outside the arena OpenSSL would fall back silently only if the arena did not exist.
  data_ = static_cast<std::uint8_t*>(OPENSSL_secure_zalloc(size));
  if (data_ == nullptr) {
    size_ = 0;
    throw Error(ErrorKind::failed, "out of locked memory for secrets", "grant fewer credentials at once (--with)");
  }
}

SecretBytes SecretBytes::copy_of(ByteView bytes) {
  SecretBytes copy(bytes.size());
  std::copy(bytes.begin(), bytes.end(), copy.data_);
  return copy;
}

SecretBytes& SecretBytes::operator=(SecretBytes&& other) noexcept {
  if (this != &other) {
    wipe();
    data_ = other.data_;
    size_ = other.size_;
    hidden_ = other.hidden_;
    other.forget();
  }
  return *this;
}

void SecretBytes::wipe() noexcept {
  if (hidden_) {
    OPENSSL_cleanse(data_, size_);
  } else if (data_ != nullptr) {
    OPENSSL_secure_clear_free(data_, size_);
  }
  forget();
}

void SecretBytes::shrink(std::size_t size) {
  if (size >= size_) return;
  *this = copy_of(reveal().first(size));
}

void SecretBytes::append(ByteView bytes) {
  SecretBytes longer(size_ + bytes.size());
  const auto end = std::copy_n(data_, size_, longer.data_);
  std::copy(bytes.begin(), bytes.end(), end);
  *this = std::move(longer);
}

void SecretBytes::hide() {
  if (empty() || hidden_) return;
  auto* place = HiddenPages::take(size_);
  if (place == nullptr) return;
  std::copy_n(data_, size_, place);
  const std::size_t size = size_;
  wipe();
  data_ = place;
  size_ = size;
  hidden_ = true;
}

bool constant_time_equal(ByteView a, ByteView b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

void wipe(std::span<std::uint8_t> bytes) {
  OPENSSL_cleanse(bytes.data(), bytes.size());
}

void make_undumpable() {
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) throw_errno("make the process undumpable");
}

void harden_process() {
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
  make_undumpable();
}

}  // namespace agentvault
