#include "base/crypto.hpp"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <cstring>
#include <memory>

#include "base/error.hpp"

namespace agentvault {
namespace {

constexpr std::size_t kNonceSize = 12;
constexpr std::size_t kTagSize = 16;

void check(int result, const char* what) {
  if (result != 1) throw Error(ErrorKind::failed, std::string("OpenSSL failed at ") + what);
}

struct CipherFree {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using Cipher = std::unique_ptr<EVP_CIPHER_CTX, CipherFree>;

SecretBytes derive(const char* name, OSSL_PARAM* parameters) {
  EVP_KDF* kdf = EVP_KDF_fetch(nullptr, name, nullptr);
  EVP_KDF_CTX* context = kdf != nullptr ? EVP_KDF_CTX_new(kdf) : nullptr;
  SecretBytes out(32);
  const int result = context != nullptr ? EVP_KDF_derive(context, out.writable().data(), out.size(), parameters) : 0;
  EVP_KDF_CTX_free(context);
  EVP_KDF_free(kdf);
  check(result, name);
  return out;
}

void* param(ByteView bytes) {
  return const_cast<std::uint8_t*>(bytes.data());
}

}  // namespace

Bytes sha1(ByteView data) {
  Bytes out(20);
  check(EVP_Digest(data.data(), data.size(), out.data(), nullptr, EVP_sha1(), nullptr), "SHA-1");
  return out;
}

Digest sha256(ByteView data) {
  Digest out;
  check(EVP_Digest(data.data(), data.size(), out.data(), nullptr, EVP_sha256(), nullptr), "SHA-256");
  return out;
}

namespace {

/// Looking an algorithm up costs OpenSSL 3 several times what a short HMAC does: once for each thread. It never holds a
/// key.
class HmacTemplate {
 public:
  HmacTemplate() {
    EVP_MAC* mac = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
    check(mac != nullptr, "HMAC");
    context_ = EVP_MAC_CTX_new(mac);
    EVP_MAC_free(mac);
    char hash[] = "SHA256";
    const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, hash, 0),
                                     OSSL_PARAM_construct_end()};
    check(context_ != nullptr && EVP_MAC_CTX_set_params(context_, parameters) == 1, "HMAC");
  }
  ~HmacTemplate() { EVP_MAC_CTX_free(context_); }
  HmacTemplate(const HmacTemplate&) = delete;
  HmacTemplate& operator=(const HmacTemplate&) = delete;

  EVP_MAC_CTX* copy() const { return EVP_MAC_CTX_dup(context_); }

 private:
  EVP_MAC_CTX* context_ = nullptr;
};

}  // namespace

void HmacSha256::Free::operator()(evp_mac_ctx_st* context) const {
  EVP_MAC_CTX_free(context);
}

HmacSha256::HmacSha256() {
  thread_local const HmacTemplate made;
  context_.reset(made.copy());
  check(context_ != nullptr, "HMAC");
}

Digest HmacSha256::operator()(ByteView key, ByteView data) {
  static constexpr std::uint8_t nothing = 0;
  Digest out;
  std::size_t size = 0;
  const bool made = EVP_MAC_init(context_.get(), key.empty() ? &nothing : key.data(), key.size(), nullptr) == 1 &&
                    EVP_MAC_update(context_.get(), data.data(), data.size()) == 1 &&
                    EVP_MAC_final(context_.get(), out.data(), &size, out.size()) == 1;
  check(made && size == out.size(), "HMAC");
  return out;
}

Digest hmac_sha256(ByteView key, ByteView data) {
  return HmacSha256()(key, data);
}

SecretBytes hkdf_sha256(const SecretBytes& key, ByteView info) {
  char hash[] = "SHA256";
  OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, hash, 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, param(key.reveal()), key.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, param(info), info.size()),
      OSSL_PARAM_construct_end(),
  };
  return derive("HKDF", parameters);
}

SecretBytes scrypt(const SecretBytes& passphrase, ByteView salt, ScryptCost cost) {
  std::uint64_t n = std::uint64_t{1} << static_cast<unsigned>(cost);
  std::uint32_t r = 8;
  std::uint32_t p = 1;
  std::uint64_t most_memory = std::uint64_t{192} << 20;
  OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PASSWORD, param(passphrase.reveal()), passphrase.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, param(salt), salt.size()),
      OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &n),
      OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_R, &r),
      OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_P, &p),
      OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_MAXMEM, &most_memory),
      OSSL_PARAM_construct_end(),
  };
  return derive("SCRYPT", parameters);
}

Bytes aead_seal(const SecretBytes& key, ByteView associated, ByteView plaintext) {
  Bytes box = random_bytes(kNonceSize);
  box.resize(kNonceSize + plaintext.size() + kTagSize);
  Cipher cipher(EVP_CIPHER_CTX_new());
  int size = 0;
  check(EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key.reveal().data(), box.data()), "AES-GCM");
  if (!associated.empty()) {
    check(EVP_EncryptUpdate(cipher.get(), nullptr, &size, associated.data(), static_cast<int>(associated.size())),
          "AES-GCM");
  }
  std::uint8_t* out = box.data() + kNonceSize;
  if (!plaintext.empty()) {
    check(EVP_EncryptUpdate(cipher.get(), out, &size, plaintext.data(), static_cast<int>(plaintext.size())), "AES-GCM");
  }
  check(EVP_EncryptFinal_ex(cipher.get(), out + plaintext.size(), &size), "AES-GCM");
  check(EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTagSize, out + plaintext.size()), "AES-GCM");
  return box;
}

std::optional<SecretBytes> aead_open(const SecretBytes& key, ByteView associated, ByteView box) {
  if (key.size() != 32 || box.size() < kNonceSize + kTagSize) return std::nullopt;
  const ByteView ciphertext = box.subspan(kNonceSize, box.size() - kNonceSize - kTagSize);
  Bytes tag(box.end() - kTagSize, box.end());
  Cipher cipher(EVP_CIPHER_CTX_new());
  int size = 0;
  check(EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key.reveal().data(), box.data()), "AES-GCM");
  if (!associated.empty()) {
    check(EVP_DecryptUpdate(cipher.get(), nullptr, &size, associated.data(), static_cast<int>(associated.size())),
          "AES-GCM");
  }
  SecretBytes plain(ciphertext.size());
  if (!ciphertext.empty()) {
    check(EVP_DecryptUpdate(cipher.get(), plain.writable().data(), &size, ciphertext.data(),
                            static_cast<int>(ciphertext.size())),
          "AES-GCM");
  }
  check(EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kTagSize, tag.data()), "AES-GCM");
  std::uint8_t unused[kTagSize];
  if (EVP_DecryptFinal_ex(cipher.get(), unused, &size) != 1) return std::nullopt;
  return plain;
}

Bytes random_bytes(std::size_t size) {
  Bytes out(size);
  check(RAND_bytes(out.data(), static_cast<int>(size)), "RAND_bytes");
  return out;
}

SecretBytes random_secret(std::size_t size) {
  SecretBytes out(size);
  check(RAND_priv_bytes(out.writable().data(), static_cast<int>(size)), "RAND_priv_bytes");
  return out;
}

}  // namespace agentvault
