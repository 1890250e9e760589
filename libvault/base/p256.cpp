#include "base/p256.hpp"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/error.hpp"

namespace agentvault {
namespace {

EVP_PKEY* raw(void* key) {
  return static_cast<EVP_PKEY*>(key);
}

Scalar padded(const BIGNUM* number) {
  Scalar out{};
  if (number == nullptr || BN_bn2binpad(number, out.data(), static_cast<int>(out.size())) < 0) {
    throw Error(ErrorKind::failed, "OpenSSL failed at P-256");
  }
  return out;
}

}  // namespace

void P256Key::Free::operator()(void* key) const {
  EVP_PKEY_free(raw(key));
}

P256Key P256Key::generate() {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  if (key == nullptr) throw Error(ErrorKind::failed, "OpenSSL failed at P-256");
  return P256Key(key);
}

P256Key P256Key::from_private_der(const SecretBytes& der) {
  const auto bytes = der.reveal();
  const unsigned char* at = bytes.data();
  EVP_PKEY* key = d2i_AutoPrivateKey(nullptr, &at, static_cast<long>(bytes.size()));
  if (key == nullptr || EVP_PKEY_get_bits(key) != 256 || EVP_PKEY_get_base_id(key) != EVP_PKEY_EC) {
    EVP_PKEY_free(key);
    throw Error(ErrorKind::integrity, "the vault's counter key is damaged");
  }
  return P256Key(key);
}

SecretBytes P256Key::private_der() const {
  const int size = i2d_PrivateKey(raw(key_.get()), nullptr);
  if (size <= 0) throw Error(ErrorKind::failed, "OpenSSL failed at P-256");
  SecretBytes der(static_cast<std::size_t>(size));
  unsigned char* at = der.writable().data();
  i2d_PrivateKey(raw(key_.get()), &at);
  return der;
}

Scalar P256Key::coordinate(const char* name) const {
  BIGNUM* number = nullptr;
  EVP_PKEY_get_bn_param(raw(key_.get()), name, &number);
  const std::unique_ptr<BIGNUM, decltype(&BN_free)> owned(number, BN_free);
  return padded(number);
}

EcdsaSignature P256Key::sign(const Digest& digest) const {
  const std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)> context(EVP_PKEY_CTX_new(raw(key_.get()), nullptr),
                                                                            EVP_PKEY_CTX_free);
  std::uint8_t der[128];
  std::size_t size = sizeof der;
  if (EVP_PKEY_sign_init(context.get()) != 1 ||
      EVP_PKEY_sign(context.get(), der, &size, digest.data(), digest.size()) != 1) {
    throw Error(ErrorKind::failed, "OpenSSL failed at ECDSA");
  }
  const unsigned char* at = der;
  const std::unique_ptr<ECDSA_SIG, decltype(&ECDSA_SIG_free)> signature(
      d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(size)), ECDSA_SIG_free);
  if (!signature) throw Error(ErrorKind::failed, "OpenSSL failed at ECDSA");
  return {padded(ECDSA_SIG_get0_r(signature.get())), padded(ECDSA_SIG_get0_s(signature.get()))};
}

}  // namespace agentvault
