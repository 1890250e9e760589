#include "net/session_ca.hpp"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <cstdio>

#include "base/error.hpp"
#include "net/address.hpp"

namespace agentvault::net {
namespace {

constexpr long kClockSlack = 60;
constexpr int kSerialBits = 127;  // RFC 5280 section 4.1.2.2: positive, at most 20 octets

void require(bool done) {
  if (!done) throw Error(ErrorKind::failed, "OpenSSL failed at a certificate");
}

void set_serial(X509* certificate) {
  BIGNUM* number = BN_new();
  const bool done = number != nullptr && BN_rand(number, kSerialBits, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
                    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nullptr;
  BN_free(number);
  require(done);
}

void add_extension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_nconf_nid(nullptr, &context, kind, value.c_str());
  const bool done = extension != nullptr && X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  require(done);
}

/// Only http/1.1, whoever asks for ALPN at all (RFC 7301).
int choose_protocol(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* offered,
                    unsigned int offered_size, void*) {
  static const unsigned char ours[] = "\x08http/1.1";
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, size, ours, sizeof ours - 1, offered, offered_size) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

SSL_CTX* make_context() {
  SSL_CTX* context = SSL_CTX_new(TLS_server_method());
  require(context != nullptr);
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_mode(context,
                   SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(context, 1);
  // No resumption: a session of one host must not open another one's connection.
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_alpn_select_cb(context, choose_protocol, nullptr);
  return context;
}

}  // namespace

void SessionCa::Free::operator()(x509_st* certificate) const {
  X509_free(certificate);
}
void SessionCa::Free::operator()(evp_pkey_st* key) const {
  EVP_PKEY_free(key);
}
void SessionCa::Free::operator()(ssl_ctx_st* context) const {
  SSL_CTX_free(context);
}

SessionCa::SessionCa(const std::string& name, std::chrono::seconds lifetime)
    : name_(name),
      lifetime_(lifetime),
      ca_key_(EVP_EC_gen("P-256")),
      leaf_key_(EVP_EC_gen("P-256")),
      context_(make_context()) {
  require(ca_key_ && leaf_key_);
  certificate_ = issue(name_, "");
}

SessionCa::~SessionCa() = default;

/// Without a host: the authority's own.
SessionCa::Certificate SessionCa::issue(const std::string& subject, const std::string& host) {
  Certificate made(X509_new());
  X509* certificate = made.get();
  require(certificate != nullptr && X509_set_version(certificate, X509_VERSION_3) == 1);
  set_serial(certificate);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -kClockSlack);
  X509_gmtime_adj(X509_getm_notAfter(certificate), static_cast<long>(lifetime_.count()) + kClockSlack);
  X509_NAME* own_name = X509_get_subject_name(certificate);
  require(X509_NAME_add_entry_by_txt(own_name, "CN", MBSTRING_UTF8,
                                     reinterpret_cast<const unsigned char*>(subject.c_str()), -1, -1, 0) == 1);
  const bool is_leaf = !host.empty();
  X509* issuer = is_leaf ? certificate_.get() : certificate;
  require(X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) == 1 &&
          X509_set_pubkey(certificate, is_leaf ? leaf_key_.get() : ca_key_.get()) == 1);
  add_extension(certificate, issuer, NID_basic_constraints,
                is_leaf ? "critical,CA:FALSE" : "critical,CA:TRUE,pathlen:0");
  add_extension(certificate, issuer, NID_key_usage,
                is_leaf ? "critical,digitalSignature" : "critical,keyCertSign,cRLSign");
  add_extension(certificate, issuer, NID_subject_key_identifier, "hash");
  if (is_leaf) {
    add_extension(certificate, issuer, NID_authority_key_identifier, "keyid:always");
    add_extension(certificate, issuer, NID_ext_key_usage, "serverAuth");
    add_extension(certificate, issuer, NID_subject_alt_name, (Address::parse_literal(host, 0) ? "IP:" : "DNS:") + host);
  }
  require(X509_sign(certificate, ca_key_.get(), EVP_sha256()) > 0);
  return made;
}

std::string SessionCa::certificate_pem() const {
  BIO* memory = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(memory, certificate_.get());
  char* text = nullptr;
  const long size = BIO_get_mem_data(memory, &text);
  std::string pem(text, static_cast<std::size_t>(size));
  BIO_free(memory);
  return pem;
}

std::string SessionCa::file_name() const {
  char text[16];
  std::snprintf(text, sizeof text, "%08lx.0", X509_subject_name_hash(certificate_.get()));
  return text;
}

std::string SessionCa::certificate_der() const {
  unsigned char* bytes = nullptr;
  const int size = i2d_X509(certificate_.get(), &bytes);
  require(size > 0);
  std::string der(reinterpret_cast<char*>(bytes), static_cast<std::size_t>(size));
  OPENSSL_free(bytes);
  return der;
}

ssl_st* SessionCa::accept(const std::string& host) {
  auto& leaf = leaves_[host];
  if (!leaf) leaf = issue(host.size() <= 64 ? host : name_, host);  // X.520: a common name has at most 64 characters
  SSL* tls = SSL_new(context_.get());
  if (tls == nullptr || SSL_use_certificate(tls, leaf.get()) != 1 || SSL_use_PrivateKey(tls, leaf_key_.get()) != 1) {
    SSL_free(tls);
    throw Error(ErrorKind::failed, "OpenSSL is out of memory");
  }
  SSL_set_accept_state(tls);
  return tls;
}

std::string requested_host(const ssl_st* tls) {
  const char* name = SSL_get_servername(tls, TLSEXT_NAMETYPE_host_name);
  return name != nullptr ? name : "";
}

}  // namespace agentvault::net
