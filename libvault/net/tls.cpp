#include "net/tls.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "base/error.hpp"
#include "net/address.hpp"

namespace agentvault::net {
namespace {

void trust_only(SSL_CTX* context, const std::string& ca_pem) {
  BIO* pem = BIO_new_mem_buf(ca_pem.data(), static_cast<int>(ca_pem.size()));
  int count = 0;
  while (X509* certificate = PEM_read_bio_X509(pem, nullptr, nullptr, nullptr)) {
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context), certificate) == 1) ++count;
    X509_free(certificate);
  }
  BIO_free(pem);
  ERR_clear_error();
  if (count == 0) {
    throw Error(ErrorKind::usage, "the CA file holds no certificate", "give a PEM file with BEGIN CERTIFICATE");
  }
}

void trust_system(SSL_CTX* context) {
  X509_LOOKUP* lookup = X509_STORE_add_lookup(SSL_CTX_get_cert_store(context), X509_LOOKUP_hash_dir());
  // SSL_CERT_DIR is read by OpenSSL itself here: it is what exec was started with.
  if (lookup == nullptr || X509_LOOKUP_add_dir(lookup, nullptr, X509_FILETYPE_DEFAULT) != 1) {
    throw Error(ErrorKind::failed, "cannot use the system's certificates");
  }
  if (const char* file = std::getenv("SSL_CERT_FILE"); file != nullptr && *file != '\0') {
    if (SSL_CTX_load_verify_file(context, file) != 1) {
      throw Error(ErrorKind::failed, std::string("SSL_CERT_FILE names a file without certificates: ") + file,
                  "unset it, or name a PEM bundle");
    }
  }
}

}  // namespace

TlsClient::TlsClient(const std::string& ca_pem) : context_(SSL_CTX_new(TLS_client_method())) {
  if (context_ == nullptr) throw Error(ErrorKind::failed, "OpenSSL failed to start");
  SSL_CTX_set_min_proto_version(context_, TLS1_2_VERSION);
  SSL_CTX_set_verify(context_, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_mode(context_,
                   SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(context_, 1);
  SSL_CTX_set_options(context_, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  try {
    if (ca_pem.empty()) {
      trust_system(context_);
    } else {
      trust_only(context_, ca_pem);
    }
  } catch (...) {
    SSL_CTX_free(context_);
    throw;
  }
}

TlsClient::~TlsClient() {
  SSL_CTX_free(context_);
}

ssl_st* TlsClient::connect(const std::string& host) {
  SSL* tls = SSL_new(context_);
  if (tls == nullptr) throw Error(ErrorKind::failed, "OpenSSL is out of memory");
  X509_VERIFY_PARAM* parameters = SSL_get0_param(tls);
  if (Address::parse_literal(host, 0)) {
    X509_VERIFY_PARAM_set1_ip_asc(parameters, host.c_str());
  } else {
    X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    X509_VERIFY_PARAM_set1_host(parameters, host.c_str(), host.size());
    SSL_set_tlsext_host_name(tls, host.c_str());
  }
  static const unsigned char alpn[] = "\x08http/1.1";
  SSL_set_alpn_protos(tls, alpn, sizeof alpn - 1);
  SSL_set_connect_state(tls);
  return tls;
}

std::optional<std::string> verification_failure(const ssl_st* tls) {
  const long result = SSL_get_verify_result(tls);
  if (result == X509_V_OK) return std::nullopt;
  return X509_verify_cert_error_string(result);
}

}  // namespace agentvault::net
