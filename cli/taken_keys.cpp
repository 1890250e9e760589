#include "taken_keys.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/error.hpp"
#include "base/text.hpp"
#include "credential_check.hpp"
#include "provider/preset.hpp"

namespace agentvault::cli {
namespace {

/// The value's own memory, as the kernel gave it to this process.
std::span<std::uint8_t> value_of(const std::string& name) {
  char* value = std::getenv(name.c_str());
  if (value == nullptr || *value == '\0') {
    throw Error(ErrorKind::usage, "--take: " + printable(name) + " is not set",
                "name variables that hold a key, for example OPENAI_API_KEY");
  }
  return {reinterpret_cast<std::uint8_t*>(value), std::strlen(value)};
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
  for (const auto& variable : variables) {
    const auto value = value_of(variable);
    const auto& preset = preset_for(presets, variable);
    auto secret = SecretBytes::copy_of(value);
    wipe(value);
    ::unsetenv(variable.c_str());
    check_secret(secret, preset.binding, preset.name);
    const bool twice = std::any_of(grants.begin(), grants.end(), [&](const auto& g) { return g.name == preset.name; });
    // GITHUB_TOKEN and GH_TOKEN: one credential under two names.
    if (twice) continue;
    grants.push_back({preset.name, preset.binding, std::move(secret)});
  }
  return grants;
}

ThrowAwayFolder::ThrowAwayFolder() {
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  const char* temporary = std::getenv("TMPDIR");
  const std::filesystem::path base = runtime != nullptr && *runtime == '/'       ? runtime
                                     : temporary != nullptr && *temporary == '/' ? temporary
                                                                                 : "/tmp";
  std::string pattern = (base / "agentvault-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw_errno("make a folder in " + base.string());
  folder_ = pattern;
}

ThrowAwayFolder::~ThrowAwayFolder() {
  std::error_code left_behind;
  std::filesystem::remove_all(folder_, left_behind);
}

}  // namespace agentvault::cli
