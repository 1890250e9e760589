// Memory for secrets: provider keys, master keys, everything derived from them.
//
// Ownership: move-only; a moved-from SecretBytes is empty and its old memory belongs to the new owner. The memory comes
// from OpenSSL's secure heap: locked (where RLIMIT_MEMLOCK allows), between guard pages, left out of core dumps, wiped
// when released. There is no stream operator, no comparison operator and no way to a std::string.
//
// reveal() is the one gate to the bytes: `grep -rn 'reveal()'` lists every place that sees a secret.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/bytes.hpp"

namespace agentvault {

class SecretBytes {
 public:
  SecretBytes() = default;
  /// Zero-filled. Throws Error(failed) when the secure heap is exhausted.
  explicit SecretBytes(std::size_t size);
  /// Copies; the caller wipes the source.
  static SecretBytes copy_of(ByteView bytes);
  SecretBytes clone() const { return copy_of(reveal()); }

  SecretBytes(SecretBytes&& other) noexcept : data_(other.data_), size_(other.size_), hidden_(other.hidden_) {
    other.forget();
  }
  SecretBytes& operator=(SecretBytes&& other) noexcept;
  SecretBytes(const SecretBytes&) = delete;
  SecretBytes& operator=(const SecretBytes&) = delete;
  ~SecretBytes() { wipe(); }

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  /// The gate.
  ByteView reveal() const { return {data_, size_}; }
  /// For whoever fills it (a KDF, a read, an unseal).
  std::span<std::uint8_t> writable() { return {data_, size_}; }

  /// Gives up all but the first `size` bytes, which are wiped. `size` must not exceed size().
  void shrink(std::size_t size);
  void append(ByteView bytes);

  /// For a secret that stays as long as its process: moves it to pages that children do not get, and that the kernel
  /// has taken out of its own map, so that not even root reads them (memfd_secret(2)); where it has no such pages, to
  /// locked ones. When they are used up (256 KiB a process) it stays where it is.
  void hide();

 private:
  void wipe() noexcept;
  void forget() noexcept {
    data_ = nullptr;
    size_ = 0;
    hidden_ = false;
  }

  std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
  bool hidden_ = false;
};

/// Constant time in the contents (not in the lengths, which are public).
bool constant_time_equal(ByteView a, ByteView b);

/// Overwrites memory that held a secret on its way into a SecretBytes.
void wipe(std::span<std::uint8_t> bytes);

/// What every process of ours does first: it leaves no core dump, others of the same user cannot trace it or follow
/// what it has open. Ends with the start of another program (execve(2)).
void make_undumpable();
/// Besides that, for a process with secrets: no core dump by whatever handler. What it starts inherits the limit.
void harden_process();

}  // namespace agentvault
