#include "session/java_truststore.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "base/crypto.hpp"
#include "base/encoding.hpp"

namespace agentvault::session {
namespace {

// The layout is that of sun.security.provider.JavaKeyStore (version 2), in big-endian numbers.
constexpr std::uint32_t kMagic = 0xfeedfeed;
constexpr std::uint32_t kVersion = 2;
constexpr std::uint32_t kTrustedCertificate = 2;
constexpr std::string_view kCertificateType = "X.509";
constexpr std::string_view kIntegrityPhrase = "Mighty Aphrodite";
constexpr std::string_view kBegin = "-----BEGIN CERTIFICATE-----";
constexpr std::string_view kEnd = "-----END CERTIFICATE-----";

std::vector<Bytes> certificates(std::string_view pem) {
  std::vector<Bytes> found;
  for (auto at = pem.find(kBegin); at != std::string_view::npos; at = pem.find(kBegin, at + 1)) {
    const auto end = pem.find(kEnd, at);
    if (end == std::string_view::npos) break;
    std::string body(pem.substr(at + kBegin.size(), end - at - kBegin.size()));
    std::erase_if(body, [](char c) { return c == '\n' || c == '\r' || c == ' '; });
    if (auto der = unbase64(body); der && !der->empty()) found.push_back(std::move(*der));
  }
  return found;
}

class Writer {
 public:
  void number(std::uint64_t value, int width) {
    for (int shift = 8 * (width - 1); shift >= 0; shift -= 8) {
      bytes_.push_back(static_cast<std::uint8_t>(value >> shift));
    }
  }
  void text(std::string_view value) {
    number(value.size(), 2);
    append(as_bytes(value));
  }
  void append(ByteView value) { bytes_.insert(bytes_.end(), value.begin(), value.end()); }
  Bytes& bytes() { return bytes_; }

 private:
  Bytes bytes_;
};

/// The digest's input: the password in UTF-16, the phrase, the store.
Bytes digest(std::string_view password, const Bytes& store) {
  Writer input;
  for (char c : password) input.number(static_cast<unsigned char>(c), 2);
  input.append(as_bytes(kIntegrityPhrase));
  input.append(store);
  return sha1(input.bytes());
}

}  // namespace

Bytes java_truststore(std::string_view pem, std::string_view password) {
  const auto all = certificates(pem);
  Writer store;
  store.number(kMagic, 4);
  store.number(kVersion, 4);
  store.number(all.size(), 4);
  for (std::size_t i = 0; i < all.size(); ++i) {
    store.number(kTrustedCertificate, 4);
    store.text("root-" + std::to_string(i));
    store.number(0, 8);  // when it was entered: nobody asks
    store.text(kCertificateType);
    store.number(all[i].size(), 4);
    store.append(all[i]);
  }
  store.append(digest(password, store.bytes()));
  return store.bytes();
}

}  // namespace agentvault::session
