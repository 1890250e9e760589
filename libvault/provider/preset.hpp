// Presets: what is known about a service, as data (schemas/providers/*.toml, compiled in). `add` copies the resolved
// preset into the credential's binding; a later change of a preset changes no stored credential.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "provider/binding.hpp"

namespace agentvault::provider {

struct Preset {
  std::string name;
  std::string title;
  std::string documentation;  // the page it was taken from
  Binding binding;            // what it gives; provider and ca_pem are filled at add
  bool needs_url = false;     // generic: the user names the origin
  bool needs_inject = false;
};

/// All of them, by name. Throws Error(failed) if one is broken, which the tests rule out.
const std::vector<Preset>& presets();
/// Throws Error(not_found) and names those that exist.
const Preset& find_preset(const std::string& name);
bool has_preset(const std::string& name);

/// For the presets' own test and for fuzzing: throws Error(usage) with the line.
Preset parse_preset(std::string_view toml, const std::string& file);

}  // namespace agentvault::provider
