#include <algorithm>

#include "base/file.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "credential_check.hpp"
#include "net/tls.hpp"
#include "open_vault.hpp"
#include "provider/preset.hpp"
#include "terminal.hpp"

namespace agentvault::cli {
namespace {

constexpr std::size_t kMaxCaFile = 256 * 1024;

bool changes_binding(const Arguments& a) {
  return !a.provider.empty() || !a.url.empty() || !a.inject.empty() || !a.env.empty() || !a.env_url.empty() ||
         !a.ca_file.empty();
}

std::string provider_name(const Arguments& a, const provider::Presets& presets) {
  if (!a.provider.empty()) return a.provider;
  if (presets.find(a.name) != nullptr) return a.name;
  if (!a.url.empty()) return "generic";
  throw Error(ErrorKind::usage, "for what service is " + a.name + "?",
              "name it with --provider, or give --url https://host and --inject");
}

void apply_url(const std::string& url, provider::Binding& binding) {
  const auto slash = url.find('/', url.find("://") == std::string::npos ? 0 : url.find("://") + 3);
  binding.origin = net::Origin::parse(url.substr(0, slash));
  binding.base = slash == std::string::npos ? "" : provider::parse_base(url.substr(slash));
}

void apply_variables(const std::vector<std::string>& given, std::vector<std::string>& variables) {
  if (given.empty()) return;
  check_variables(given);
  variables = given;
}

std::string read_ca_file(const std::string& path) {
  const auto contents = read_file(path, kMaxCaFile);
  if (!contents) throw Error(ErrorKind::not_found, "there is no file " + path, "is the path right?");
  std::string pem(contents->begin(), contents->end());
  const net::TlsClient check(pem);  // throws for what is no certificate
  return pem;
}

provider::Binding make_binding(const Arguments& a, const provider::Preset& preset) {
  provider::Binding binding = preset.binding;
  if (preset.needs_url && a.url.empty()) {
    throw Error(ErrorKind::usage, "the provider " + preset.name + " needs an origin",
                "give --url " + (preset.url_example.empty() ? "https://host[/base]" : preset.url_example));
  }
  if (!a.url.empty()) apply_url(a.url, binding);
  if (!a.inject.empty()) binding.inject = provider::Injection::parse(a.inject);
  apply_variables(a.env, binding.env);
  apply_variables(a.env_url, binding.env_url);
  if (!a.ca_file.empty()) binding.ca_pem = read_ca_file(a.ca_file);
  return binding;
}

SecretBytes read_secret(const Arguments& a) {
  if (a.from_stdin) return read_secret_from_stdin();
  return ask_hidden("Secret for " + a.name + " (hidden): ", ErrorKind::usage,
                    "without a terminal give --stdin and send the secret to standard input");
}

/// Without a binding, the stored one stays. Returns what the secret is bound to.
provider::Binding store(const Arguments& arguments, std::optional<provider::Binding> binding, SecretBytes secret,
                        const keys::PinSource& pin) {
  auto vault = open_vault_for_change(arguments, pin);
  if (!binding) {
    const auto* row = vault.find(arguments.name);
    if (row == nullptr) {
      throw Error(ErrorKind::not_found, "there is no credential named " + arguments.name,
                  "\"agentvault list\" shows the names");
    }
    binding = provider::Binding::from_json(row->binding);
  }
  check_secret(secret, *binding, arguments.name);
  const keys::NewCredential credential{arguments.name, binding->to_json(), std::move(secret)};
  if (arguments.replace) {
    vault.replace(credential);
  } else {
    vault.add(credential);
  }
  if (!vault.snapshot().stage.recovery_salt.empty())
    note(arguments.name + " is in no backup yet: \"agentvault backup FILE\" writes one");
  return *binding;
}

}  // namespace

int run_add(const Arguments& arguments) {
  harden_process();
  if (!valid_name(arguments.name)) {
    throw Error(ErrorKind::usage, "not a name: \"" + printable(arguments.name) + "\"",
                "1 to 64 of a-z 0-9 . _ -, starting with a letter or digit");
  }
  const auto paths = arguments.paths_of_vault();
  paths.check();
  const bool keep_binding = arguments.replace && !changes_binding(arguments);
  std::optional<provider::Binding> binding;
  const auto presets = provider::Presets::load(provider::preset_folder());
  const provider::Preset* preset = nullptr;
  if (!keep_binding) {
    preset = &presets.get(provider_name(arguments, presets));
    binding = make_binding(arguments, *preset);  // complain before asking for a secret
  }

  // Before the secret: whoever has forgotten the PIN is not made to type that.
  const auto pin = ask_pin_now(arguments);
  SecretBytes secret = read_secret(arguments);
  if (preset != nullptr && !provider::has_shape(*preset, secret)) {
    note("warning: this does not look like a key of " + preset->title + " (" + join(preset->key_shapes, ", ") + ")");
  }
  const provider::Binding stored = store(arguments, std::move(binding), std::move(secret), pin);
  // After the vault is closed: a running session may be waiting for it.
  if (arguments.replace) withdraw_credential(paths, arguments.name);
  note(std::string(arguments.replace ? "replaced " : "stored ") + arguments.name + " for " + stored.origin.text() +
       stored.base);
  return 0;
}

}  // namespace agentvault::cli
