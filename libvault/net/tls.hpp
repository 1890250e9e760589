// TLS towards upstreams: 1.2 or newer, verified, with the system's roots or one CA file of the credential's own.
#pragma once

#include <memory>
#include <optional>
#include <string>

struct ssl_ctx_st;
struct ssl_st;
struct ssl_session_st;

namespace agentvault::net {

/// One per set of roots, shared by all connections to it.
class TlsClient {
 public:
  /// `ca_pem`: the only roots to trust; empty: the system's (its hashed directory, read lazily: parsing the whole
  /// bundle would cost 19 ms at every start). Throws Error(usage) for a PEM without a certificate.
  explicit TlsClient(const std::string& ca_pem);
  ~TlsClient();
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;

  /// A new connection's TLS state, set to verify `host` (a name or an IP literal). The caller frees it (SSL_free).
  ssl_st* connect(const std::string& host);

 private:
  ssl_ctx_st* context_;
};

/// "certificate has expired", "self-signed certificate": for the person; nothing when verification did not fail.
std::optional<std::string> verification_failure(const ssl_st* tls);

}  // namespace agentvault::net
