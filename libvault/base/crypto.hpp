// Thin wrappers over OpenSSL 3: nothing here is a primitive of our own. All throw Error(failed) when OpenSSL fails,
// which it does only when memory runs out or the library is broken.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "base/bytes.hpp"
#include "base/secret_bytes.hpp"

struct evp_mac_ctx_st;

namespace agentvault {

using Digest = std::array<std::uint8_t, 32>;

Digest sha256(ByteView data);
/// SHA-1, 20 bytes: for formats of others that ask for it (WebSocket, Java key stores). It protects nothing here.
Bytes sha1(ByteView data);
/// HMAC-SHA-256 (FIPS 198-1).
Digest hmac_sha256(ByteView key, ByteView data);
/// Many of them, for a chain: most of what a short one costs is what this keeps. It holds the last key, which is wiped
/// with it.
class HmacSha256 {
 public:
  HmacSha256();
  Digest operator()(ByteView key, ByteView data);

 private:
  struct Free {
    void operator()(evp_mac_ctx_st* context) const;
  };
  std::unique_ptr<evp_mac_ctx_st, Free> context_;
};
/// HKDF-SHA-256 (RFC 5869), 32 bytes out; `info` separates the purposes, the salt is empty.
SecretBytes hkdf_sha256(const SecretBytes& key, ByteView info);
/// log2 of N. For what only this machine can try: 32 MiB, about 80 ms. For what lies in a file that travels: 128 MiB.
enum class ScryptCost : unsigned { interactive = 15, offline = 17 };
/// scrypt (RFC 7914) with r = 8, p = 1; 32 bytes out.
SecretBytes scrypt(const SecretBytes& passphrase, ByteView salt, ScryptCost cost = ScryptCost::interactive);

/// AES-256-GCM (SP 800-38D). The result is nonce (12, random) | ciphertext | tag (16).
Bytes aead_seal(const SecretBytes& key, ByteView associated, ByteView plaintext);
/// Nothing when the box was not made with this key and this associated data.
std::optional<SecretBytes> aead_open(const SecretBytes& key, ByteView associated, ByteView box);

Bytes random_bytes(std::size_t size);
SecretBytes random_secret(std::size_t size);

}  // namespace agentvault
