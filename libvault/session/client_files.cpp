#include "session/client_files.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/file.hpp"
#include "base/log.hpp"
#include "session/java_truststore.hpp"

namespace agentvault::session {
namespace {

constexpr std::size_t kMaxBundle = std::size_t{8} << 20;
constexpr std::size_t kMaxWgetrc = std::size_t{256} << 10;
// Debian and Ubuntu, Fedora and RHEL, SUSE, Alpine.
constexpr const char* kSystemBundles[]{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                       "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"};

std::string text_of(const std::filesystem::path& path, std::size_t most) {
  if (path.empty()) return {};
  const auto contents = read_file(path, most);
  std::string text = contents ? std::string(as_text(*contents)) : "";
  if (!text.empty() && !text.ends_with('\n')) text.push_back('\n');
  return text;
}

/// As text, without looking into it: parsing 140 certificates costs 19 ms.
std::string system_roots() {
  for (const char* path : kSystemBundles) {
    if (auto text = text_of(path, kMaxBundle); !text.empty()) return text;
  }
  return {};
}

std::string wgetrc_of_user(const Inherited& inherited) {
  if (const auto path = inherited("WGETRC"); !path.empty()) return text_of(path, kMaxWgetrc);
  if (const auto home = inherited("HOME"); !home.empty()) return text_of(home + "/.wgetrc", kMaxWgetrc);
  return {};
}

void write_file(const std::filesystem::path& path, ByteView contents) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0400));
  if (!fd) throw_errno("create " + path.string());
  write_all(fd.get(), contents, path.string());
}

}  // namespace

std::vector<std::filesystem::path> ClientFiles::all(const std::filesystem::path& folder, const std::string& stem) {
  std::vector<std::filesystem::path> out;
  for (const char* suffix : {"ca.pem", "bundle.pem", "truststore.jks", "wgetrc"}) {
    out.push_back(folder / (stem.empty() ? suffix : stem + "." + suffix));
  }
  return out;
}

ClientFiles::ClientFiles(const std::filesystem::path& folder, const std::string& stem, const net::SessionCa& ca,
                         const Inherited& inherited) {
  for (auto& path : all(folder, stem)) files_.push_back({std::move(path), {}});
  const auto fill = [&](Kind kind, ByteView contents) {
    files_[kind].contents.assign(contents.begin(), contents.end());
  };
  const std::string own = ca.certificate_pem();
  const std::string roots = system_roots();
  if (roots.empty()) log::warning("this system has no bundle of certificates: is ca-certificates installed?");
  const std::string bundle = roots + text_of(inherited("SSL_CERT_FILE"), kMaxBundle) + own;
  fill(kCa, as_bytes(text_of(inherited("NODE_EXTRA_CA_CERTS"), kMaxBundle) + own));
  fill(kBundle, as_bytes(bundle));
  fill(kJava, session::java_truststore(bundle, kJavaPassword));
  fill(kWgetrc, as_bytes(wgetrc_of_user(inherited) + "ca_certificate = " + files_[kBundle].path.string() + "\n"));
}

void ClientFiles::write() {
  written_ = true;
  for (const auto& file : files_) write_file(file.path, file.contents);
}

ClientFiles::~ClientFiles() {
  if (!written_) return;
  for (const auto& file : files_) ::unlink(file.path.c_str());
}

}  // namespace agentvault::session
