// The certificate authority of one session: with it the broker answers, in place of the hosts that a granted credential
// is bound to. Its key is made for the session, lies in locked memory (OpenSSL's secure heap) and ends with the
// process.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>

struct evp_pkey_st;
struct ssl_ctx_st;
struct ssl_st;
struct x509_st;

namespace agentvault::net {

class SessionCa {
 public:
  /// P-256. Good from a minute ago until `lifetime` from now. `name` tells people whose it is.
  SessionCa(const std::string& name, std::chrono::seconds lifetime);
  ~SessionCa();
  SessionCa(const SessionCa&) = delete;
  SessionCa& operator=(const SessionCa&) = delete;

  std::string certificate_pem() const;
  std::string certificate_der() const;
  /// As OpenSSL looks for it in a folder of certificates: "9d2f1c3a.0" (openssl-rehash(1)).
  std::string file_name() const;

  /// TLS state of a server (1.2 or newer, ALPN http/1.1) that presents a certificate for `host`, a name or an IP
  /// literal. The caller frees it (SSL_free).
  ssl_st* accept(const std::string& host);

 private:
  struct Free {
    void operator()(x509_st* certificate) const;
    void operator()(evp_pkey_st* key) const;
    void operator()(ssl_ctx_st* context) const;
  };
  using Certificate = std::unique_ptr<x509_st, Free>;
  Certificate issue(const std::string& subject, const std::string& host);

  std::string name_;
  std::chrono::seconds lifetime_;
  std::unique_ptr<evp_pkey_st, Free> ca_key_;
  std::unique_ptr<evp_pkey_st, Free> leaf_key_;  // one for all hosts
  Certificate certificate_;
  std::unique_ptr<ssl_ctx_st, Free> context_;
  std::map<std::string, Certificate> leaves_;  // by host: only hosts of granted credentials, so there are few
};

/// The host that the client named in its ClientHello (SNI), or "".
std::string requested_host(const ssl_st* tls);

}  // namespace agentvault::net
