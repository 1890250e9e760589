#include "session/environment.hpp"

#include <map>

#include "base/error.hpp"

namespace agentvault::session {
namespace {

/// What the vault itself reads, and what an outer session set: nothing for the child.
constexpr std::string_view kOwnPrefix = "AGENTVAULT_";
constexpr std::string_view kPinFolder = "CREDENTIALS_DIRECTORY";  // systemd's: the PIN may lie there
constexpr const char* kLoopback = "127.0.0.1,localhost,::1";

class Claims {
 public:
  void claim(const std::string& variable, const std::string& credential, std::string value) {
    const auto [found, fresh] = owners_.emplace(variable, credential);
    if (!fresh) {
      throw Error(ErrorKind::usage,
                  "the credentials " + found->second + " and " + credential + " both claim " + variable,
                  "choose one with --with, or give one of them another --env");
    }
    values_[variable] = std::move(value);
  }
  std::map<std::string, std::string>& values() { return values_; }

 private:
  std::map<std::string, std::string> owners_;
  std::map<std::string, std::string> values_;
};

/// A client must not send calls to the broker through a proxy that the user has set for the rest of the world.
void keep_loopback_direct(const std::vector<std::string>& inherited, std::map<std::string, std::string>& values) {
  for (const char* name : {"NO_PROXY", "no_proxy"}) {
    std::string all = kLoopback;
    for (const auto& entry : inherited) {
      const std::string prefix = std::string(name) + "=";
      if (entry.starts_with(prefix) && entry.size() > prefix.size()) all += "," + entry.substr(prefix.size());
    }
    values[name] = all;
  }
}

}  // namespace

Environment build_environment(const EnvironmentRequest& request) {
  Claims claims;
  for (const auto& grant : *request.grants) {
    for (const auto& variable : grant.binding.env) claims.claim(variable, grant.name, request.mint(grant.name));
    for (const auto& variable : grant.binding.env_url) {
      claims.claim(variable, grant.name, "http://" + request.authority + "/" + grant.name + grant.binding.client_base);
    }
  }
  auto& values = claims.values();
  values["AGENTVAULT_TOKEN"] = request.mint("");
  values["AGENTVAULT_URL"] = "http://" + request.authority;
  values["AGENTVAULT_SESSION"] = request.session;
  keep_loopback_direct(request.inherited, values);

  Environment out;
  for (const auto& entry : request.inherited) {
    const std::string name = entry.substr(0, entry.find('='));
    if (name.starts_with(kOwnPrefix) || name == kPinFolder || values.contains(name)) continue;
    if (request.holds_secret(entry)) {
      out.removed.push_back(name);
      continue;
    }
    out.entries.push_back(entry);
  }
  for (const auto& [name, value] : values) out.entries.push_back(name + "=" + value);
  return out;
}

}  // namespace agentvault::session
