#include "taken_keys.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <set>

#include "base/error.hpp"
#include "base/text.hpp"
#include "credential_check.hpp"
#include "provider/preset.hpp"

namespace agentvault::cli {
namespace {

/// Moves the value out of its own memory, as the kernel gave it to this process. There may be several entries of one
/// name: the first counts.
SecretBytes take_value(const std::string& name) {
  SecretBytes secret;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (std::strncmp(*entry, name.c_str(), name.size()) != 0 || (*entry)[name.size()] != '=') continue;
    auto* value = reinterpret_cast<std::uint8_t*>(*entry + name.size() + 1);
    const std::span bytes(value, std::strlen(*entry + name.size() + 1));
    if (secret.empty() && !bytes.empty()) secret = SecretBytes::copy_of(bytes);
    wipe(bytes);
  }
  ::unsetenv(name.c_str());
  return secret;
}

/// The same key may stand there under other names.
void wipe_copies(const SecretBytes& secret) {
  for (char** entry = environ; *entry != nullptr; ++entry) {
    char* value = std::strchr(*entry, '=');
    if (value == nullptr) continue;
    const std::span bytes(reinterpret_cast<std::uint8_t*>(value + 1), std::strlen(value + 1));
    if (constant_time_equal(bytes, secret.reveal())) wipe(bytes);
  }
}

bool is_set(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value != nullptr && *value != '\0';
}

const provider::Preset& preset_for(const provider::Presets& presets, const std::string& variable) {
  const auto found = std::find_if(presets.list().begin(), presets.list().end(), [&](const auto& preset) {
    const auto& names = preset.binding.env;
    return std::find(names.begin(), names.end(), variable) != names.end();
  });
  if (found == presets.list().end()) {
    throw Error(ErrorKind::usage, "--take: no provider is known that uses " + printable(variable),
                "\"agentvault provider list\" shows them; \"agentvault add\" stores a key for any other service");
  }
  if (found->needs_url) {
    throw Error(
        ErrorKind::usage,
        "--take: " + found->name + " has an address for each customer, which " + printable(variable) + " does not tell",
        "store it: \"agentvault add " + found->name + " --url ...\"");
  }
  return *found;
}

}  // namespace

std::vector<broker::Grant> take_keys(const std::vector<std::string>& variables) {
  const auto presets = provider::Presets::load(provider::preset_folder());
  std::vector<broker::Grant> grants;
  // A name that is given twice is taken once.
  for (const auto& variable : std::set<std::string>(variables.begin(), variables.end())) {
    if (!is_set(variable)) {
      throw Error(ErrorKind::usage, "--take: " + printable(variable) + " is not set",
                  "name variables that hold a key, for example OPENAI_API_KEY");
    }
    const auto& preset = preset_for(presets, variable);
    auto secret = take_value(variable);
    check_secret(secret, preset.binding, preset.name);
    const auto same =
        std::find_if(grants.begin(), grants.end(), [&](const auto& grant) { return grant.name == preset.name; });
    if (same != grants.end()) {
      // GITHUB_TOKEN and GH_TOKEN: one credential under two names.
      if (constant_time_equal(same->secret.reveal(), secret.reveal())) continue;
      throw Error(ErrorKind::usage, "--take: two variables of " + preset.name + " hold different keys",
                  "take one of them");
    }
    grants.push_back({preset.name, preset.binding, std::move(secret)});
  }
  for (auto& grant : grants) {
    wipe_copies(grant.secret);
    // The session's processes are forked from this one.
    grant.secret.hide();
  }
  return grants;
}

}  // namespace agentvault::cli
