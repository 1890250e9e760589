#include "session/environment.hpp"

#include <algorithm>
#include <map>

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "session/key_variables.hpp"

namespace agentvault::session {
namespace {

/// What the vault itself reads, and what an outer session set: nothing for the child.
constexpr std::string_view kOwnPrefix = "AGENTVAULT_";
constexpr std::string_view kPinFolder = "CREDENTIALS_DIRECTORY";  // systemd's: the PIN may lie there
constexpr const char* kLoopbackNames[]{"127.0.0.1", "localhost", "::1"};
constexpr std::string_view kProxyUser = "agentvault";
constexpr std::uint64_t kMaxGitEntries = 10'000;

/// A program that asks its user about every new value of the usual variable, and takes another one's as it comes.
struct Renaming {
  std::string_view program;
  std::string_view usual;
  std::string_view instead;
};
constexpr Renaming kRenamings[]{{"claude", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"}};

using Variables = std::map<std::string, std::string>;

class Claims {
 public:
  void claim(const std::string& variable, const std::string& credential, std::string value) {
    const auto [found, fresh] = owners_.emplace(variable, credential);
    if (!fresh && found->second != credential) {
      throw Error(ErrorKind::usage,
                  "the credentials " + found->second + " and " + credential + " both claim " + variable,
                  "choose one with --with, or give one of them another --env");
    }
    values_[variable] = std::move(value);
  }
  Variables& values() { return values_; }

 private:
  std::map<std::string, std::string> owners_;
  Variables values_;
};

std::string inherited_value(const std::vector<std::string>& inherited, const std::string& name) {
  const std::string prefix = name + "=";
  for (const auto& entry : inherited) {
    if (entry.starts_with(prefix)) return entry.substr(prefix.size());
  }
  return {};
}

/// What this program reads in place of a variable; mostly the variable itself.
std::string as_read_by(const std::string& program, const std::string& variable) {
  for (const auto& renaming : kRenamings) {
    if (renaming.program == program && renaming.usual == variable) return std::string(renaming.instead);
  }
  return variable;
}

/// A credential's own variables, in the names that its service's clients read.
Variables credential_variables(const EnvironmentRequest& request) {
  Claims claims;
  for (const auto& grant : *request.grants) {
    for (const auto& variable : grant.binding.env) {
      claims.claim(as_read_by(request.program, variable), grant.name, request.mint(grant.name));
    }
    for (const auto& variable : grant.binding.env_url) {
      claims.claim(variable, grant.name, "http://" + request.authority + "/" + grant.name + grant.binding.client_base);
    }
  }
  return claims.values();
}

/// Loopback is reached directly, above all the broker itself: only an upstream there that a credential is bound to goes
/// through the proxy. What the user had set is not taken over: those hosts would bypass the broker.
std::string direct_hosts(const std::vector<broker::Grant>& grants) {
  std::vector<std::string> names;
  for (const char* name : kLoopbackNames) {
    const bool brokered =
        std::any_of(grants.begin(), grants.end(), [&](const auto& grant) { return grant.binding.origin.host == name; });
    if (!brokered) names.emplace_back(name);
  }
  return join(names, ",");
}

void add_proxy(const EnvironmentRequest& request, Variables& values) {
  const std::string url = "http://" + std::string(kProxyUser) + ":" + request.proxy_token + "@" + request.authority;
  for (const char* name :
       {"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "grpc_proxy"}) {
    values[name] = url;
  }
  for (const char* name : {"NO_PROXY", "no_proxy", "no_grpc_proxy"}) values[name] = direct_hosts(*request.grants);
  values["NODE_USE_ENV_PROXY"] = "1";
  values["PERL_LWP_ENV_PROXY"] = "1";
  values["GIT_HTTP_PROXY_AUTHMETHOD"] = "basic";
}

void add_certificates(const ClientFiles& files, Variables& values) {
  for (const char* name : {"NODE_EXTRA_CA_CERTS", "DENO_CERT"}) values[name] = files.ca();
  // Not AWS_CA_BUNDLE: rclone fails with it, and what reads it reads REQUESTS_CA_BUNDLE, too.
  for (const char* name : {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "PIP_CERT",
                           "CARGO_HTTP_CAINFO", "NPM_CONFIG_CAFILE", "CODEX_CA_CERTIFICATE", "PERL_LWP_SSL_CA_FILE"}) {
    values[name] = files.bundle();
  }
  values["UV_NATIVE_TLS"] = "1";
  values["WGETRC"] = files.wgetrc();
}

/// The JVM knows neither proxy nor certificate variables, and cannot authenticate to a proxy by options.
void add_java(const EnvironmentRequest& request, Variables& values) {
  const std::string port = std::to_string(request.tokenless_proxy_port);
  std::string direct = direct_hosts(*request.grants);
  std::replace(direct.begin(), direct.end(), ',', '|');
  std::string options = inherited_value(request.inherited, "JAVA_TOOL_OPTIONS");
  if (!options.empty()) options += " ";
  for (const char* scheme : {"http", "https"}) {
    options += "-D" + std::string(scheme) + ".proxyHost=127.0.0.1 -D" + scheme + ".proxyPort=" + port + " ";
  }
  options += "-Dhttp.nonProxyHosts=" + direct + " -Djavax.net.ssl.trustStore=" + request.files->java_truststore() +
             " -Djavax.net.ssl.trustStorePassword=" + ClientFiles::kJavaPassword;
  values["JAVA_TOOL_OPTIONS"] = options;
}

/// Configuration for git behind what the user's environment already gives it: the token for each host that it has a
/// credential for, and https in place of ssh there.
void add_git(const EnvironmentRequest& request, Variables& values) {
  const auto given = parse_unsigned(inherited_value(request.inherited, "GIT_CONFIG_COUNT"));
  std::uint64_t count = given && *given <= kMaxGitEntries ? *given : 0;
  const auto add = [&](const std::string& key, const std::string& value) {
    values["GIT_CONFIG_KEY_" + std::to_string(count)] = key;
    values["GIT_CONFIG_VALUE_" + std::to_string(count)] = value;
    ++count;
  };
  for (const auto& grant : *request.grants) {
    if (!grant.binding.git) continue;
    const auto& origin = grant.binding.origin;
    const std::string pair = "x-access-token:" + request.mint(grant.name);
    add("http." + origin.text() + "/.extraHeader", "Authorization: Basic " + base64(as_bytes(pair)));
    for (const std::string& spelling : {"git@" + origin.host + ":", "ssh://git@" + origin.host + "/"}) {
      add("url." + origin.text() + "/.insteadOf", spelling);
    }
  }
  if (!given && count == 0) return;
  values["GIT_CONFIG_COUNT"] = std::to_string(count);
  values["GIT_TERMINAL_PROMPT"] = "0";
}

}  // namespace

Environment build_environment(const EnvironmentRequest& request) {
  Variables values = credential_variables(request);
  values["AGENTVAULT_TOKEN"] = request.widest_token;
  values["AGENTVAULT_URL"] = "http://" + request.authority;
  values["AGENTVAULT_SESSION"] = request.session;
  add_proxy(request, values);
  add_certificates(*request.files, values);
  add_java(request, values);
  add_git(request, values);

  Environment out;
  for (const auto& entry : request.inherited) {
    const std::string name = entry.substr(0, entry.find('='));
    if (name.starts_with(kOwnPrefix) || name == kPinFolder || values.contains(as_read_by(request.program, name))) {
      continue;
    }
    if (request.holds_secret(entry)) {
      out.removed.push_back(name);
      continue;
    }
    const bool kept = std::find(request.kept.begin(), request.kept.end(), name) != request.kept.end();
    if (!kept && holds_a_key(name, std::string_view(entry).substr(std::min(name.size() + 1, entry.size())))) {
      out.held_back.push_back(name);
      continue;
    }
    out.entries.push_back(entry);
  }
  for (const auto& [name, value] : values) out.entries.push_back(name + "=" + value);
  return out;
}

}  // namespace agentvault::session
