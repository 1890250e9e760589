// Files that clients of a session read: the session's CA certificate, alone and together with the system's roots, in
// the forms that they know. Public contents: the CA's key is in none of them.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "net/session_ca.hpp"

namespace agentvault::session {

/// A variable of the environment that exec was started with; "" when it is not set.
using Inherited = std::function<std::string(const char* name)>;

class ClientFiles {
 public:
  /// Where clients will find them: `folder`, and what their names begin with.
  ClientFiles(const std::filesystem::path& folder, const std::string& stem, const net::SessionCa& ca,
              const Inherited& inherited);
  ~ClientFiles();
  ClientFiles(const ClientFiles&) = delete;
  ClientFiles& operator=(const ClientFiles&) = delete;

  /// Mode 0400, removed on destruction. Without it, somebody else puts them there.
  void write();
  struct File {
    std::filesystem::path path;
    Bytes contents;
  };
  const std::vector<File>& list() const { return files_; }

  /// Only the session's CA, and what NODE_EXTRA_CA_CERTS named: for variables that add to a client's own roots.
  std::string ca() const { return files_[kCa].path; }
  /// The system's roots, what SSL_CERT_FILE named, and the session's CA: for variables that replace a client's roots.
  std::string bundle() const { return files_[kBundle].path; }
  /// The same as a Java key store. Its password is kJavaPassword.
  std::string java_truststore() const { return files_[kJava].path; }
  /// wget reads the name of a bundle only here; what WGETRC or ~/.wgetrc said comes first.
  std::string wgetrc() const { return files_[kWgetrc].path; }
  static constexpr const char* kJavaPassword = "changeit";  // Java's own default: it keeps nothing secret

  /// Every file that a session may leave behind.
  static std::vector<std::filesystem::path> all(const std::filesystem::path& folder, const std::string& stem);

 private:
  enum Kind : std::size_t { kCa, kBundle, kJava, kWgetrc };

  std::vector<File> files_;  // by Kind
  bool written_ = false;
};

}  // namespace agentvault::session
