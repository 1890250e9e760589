#include "sandbox/secret_files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "base/file.hpp"
#include "base/text.hpp"

namespace agentvault::sandbox {
namespace {

constexpr std::string_view kDotEnv = ".env";
constexpr std::array kHarmlessEndings{std::string_view(".example"), std::string_view(".sample"),
                                      std::string_view(".template"), std::string_view(".dist")};
constexpr std::array kNames{std::string_view(".envrc"),
                            std::string_view(".netrc"),
                            std::string_view("_netrc"),
                            std::string_view(".pgpass"),
                            std::string_view(".git-credentials"),
                            std::string_view(".vault-token"),
                            std::string_view(".pypirc"),
                            std::string_view("credentials.json"),
                            std::string_view("service-account*.json"),
                            std::string_view("service_account*.json"),
                            std::string_view("serviceAccount*.json"),
                            std::string_view("client_secret*.json"),
                            std::string_view("secrets.json"),
                            std::string_view("secrets.toml"),
                            std::string_view("secrets.yml"),
                            std::string_view("secrets.yaml"),
                            std::string_view("id_rsa"),
                            std::string_view("id_dsa"),
                            std::string_view("id_ecdsa"),
                            std::string_view("id_ed25519"),
                            std::string_view("id_ed25519_sk"),
                            std::string_view("id_ecdsa_sk"),
                            std::string_view("*.p12"),
                            std::string_view("*.pfx"),
                            std::string_view("*.jks"),
                            std::string_view("*.keystore"),
                            std::string_view("*.kdbx"),
                            std::string_view("*.ppk")};
constexpr std::array kDoubtfulNames{std::string_view("*.pem"),  std::string_view("*.key"),
                                    std::string_view("*.p8"),   std::string_view("*.pk8"),
                                    std::string_view(".npmrc"), std::string_view(".yarnrc.yml")};
constexpr std::array kTellingTexts{std::string_view("PRIVATE KEY-----"), std::string_view("PuTTY-User-Key-File"),
                                   std::string_view("_authToken="),      std::string_view("_auth="),
                                   std::string_view("_password="),       std::string_view("npmAuthToken:"),
                                   std::string_view("npmAuthIdent:")};
constexpr std::size_t kLookedAt = 16384;

template <class Patterns>
bool matches(const Patterns& patterns, const std::string& name) {
  return std::any_of(patterns.begin(), patterns.end(), [&](auto pattern) { return glob_matches(pattern, name); });
}

}  // namespace

bool is_named_like_keys(const std::string& name) {
  const std::string plain = lower(name);
  if (matches(kNames, name) || plain.ends_with(kDotEnv)) return true;  // also prod.env
  // .env.local, .env-local, .env~, but not .environment.
  return plain.starts_with(kDotEnv) && !is_alphanumeric(plain[kDotEnv.size()]) &&
         std::none_of(kHarmlessEndings.begin(), kHarmlessEndings.end(),
                      [&](std::string_view ending) { return plain.ends_with(ending); });
}

bool may_hold_keys(const std::string& name) {
  return matches(kDoubtfulNames, name);
}

bool holds_keys(const std::filesystem::path& file) {
  const std::string text = beginning_of(file, kLookedAt);
  return std::any_of(kTellingTexts.begin(), kTellingTexts.end(),
                     [&](std::string_view telling) { return text.find(telling) != std::string::npos; });
}

std::string beginning_of(const std::filesystem::path& file, std::size_t most) {
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) return {};
  Bytes contents(most);
  contents.resize(read_up_to(fd.get(), contents, file.string()));
  return std::string(as_text(contents));
}

}  // namespace agentvault::sandbox
