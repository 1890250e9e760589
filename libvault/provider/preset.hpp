// Presets: what is known about a service, as data: schemas/providers/*.toml, compiled in, and files of the user's own.
// `add` copies the resolved preset into the credential's binding; a later change of a preset changes no stored
// credential.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "provider/binding.hpp"
#include "provider/metering.hpp"

namespace agentvault::provider {

struct Preset {
  std::string name;
  std::string title;
  std::string documentation;            // the page it was taken from
  Binding binding;                      // what it gives; provider and ca_pem are filled at add
  bool needs_url = false;               // the user names the origin: there is one for each customer, or it can be any
  std::string url_example;              // what such an origin looks like
  std::vector<std::string> key_shapes;  // patterns: '*' is any run of characters
  Metering metering;
  std::string file;  // where a preset of the user's own was read from; "": it came with the program
};

class Presets {
 public:
  /// Those that came with the program, and *.toml of `folder`, which replace those of the same name. A missing folder
  /// is an empty one. Throws Error(usage) with file and line for a broken file.
  static Presets load(const std::filesystem::path& folder);

  /// By name.
  const std::vector<Preset>& list() const { return list_; }
  const Preset* find(const std::string& name) const;
  /// Throws Error(not_found) and hints at those that exist.
  const Preset& get(const std::string& name) const;

 private:
  std::vector<Preset> list_;
};

/// Of one provider, without reading the others; nothing known of it: no models.
Metering metering_of(const std::string& provider, const std::filesystem::path& folder);

/// Where users put presets of their own: $XDG_CONFIG_HOME/agentvault/providers.
std::filesystem::path preset_folder();

/// Whether a secret looks like a key of this service; true as well where no shape is known.
bool has_shape(const Preset& preset, const SecretBytes& secret);

/// For the presets' own test and for fuzzing: throws Error(usage) with the line.
Preset parse_preset(std::string_view toml, const std::string& file);

}  // namespace agentvault::provider
