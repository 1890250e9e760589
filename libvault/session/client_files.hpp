// Files that clients of a session read: the session's CA certificate, alone and together with the system's roots, in
// the forms that they know. Public contents: the CA's key is in none of them.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "keys/vault_paths.hpp"
#include "net/session_ca.hpp"

namespace agentvault::session {

/// A variable of the environment that exec was started with; "" when it is not set.
using Inherited = std::function<std::string(const char* name)>;

class ClientFiles {
 public:
  /// Written mode 0400, removed on destruction.
  ClientFiles(const keys::VaultPaths& paths, const std::string& session, const net::SessionCa& ca,
              const Inherited& inherited);
  ~ClientFiles();
  ClientFiles(const ClientFiles&) = delete;
  ClientFiles& operator=(const ClientFiles&) = delete;

  /// Only the session's CA, and what NODE_EXTRA_CA_CERTS named: for variables that add to a client's own roots.
  const std::string& ca() const { return ca_; }
  /// The system's roots, what SSL_CERT_FILE named, and the session's CA: for variables that replace a client's roots.
  const std::string& bundle() const { return bundle_; }
  /// The same as a Java key store. Its password is kJavaPassword.
  const std::string& java_truststore() const { return java_; }
  /// wget reads the name of a bundle only here; what WGETRC or ~/.wgetrc said comes first.
  const std::string& wgetrc() const { return wgetrc_; }
  static constexpr const char* kJavaPassword = "changeit";  // Java's own default: it keeps nothing secret

  /// Every file that a session may leave behind.
  static std::vector<std::filesystem::path> all(const keys::VaultPaths& paths, const std::string& session);

 private:
  std::string ca_;
  std::string bundle_;
  std::string java_;
  std::string wgetrc_;
};

}  // namespace agentvault::session
