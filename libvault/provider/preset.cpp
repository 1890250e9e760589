#include "provider/preset.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>

#include "base/embedded_file.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "http/fields.hpp"
#include "policy/strict_table.hpp"

namespace agentvault {
extern const EmbeddedFile kPresets[];
}

namespace agentvault::provider {
namespace {

constexpr std::size_t kMaxFile = 256 * 1024;
constexpr std::uint64_t kMostTokens = 1'000'000'000;

constexpr const char* kHint = "see schemas/presets.md";

[[noreturn]] void bad(const std::string& file, const toml::source_region& where, const std::string& what) {
  policy::refuse_toml(file, where, what, kHint);
}

using policy::StrictTable;

policy::Rule parse_rule(const toml::table& source, const std::string& file) {
  StrictTable table(source, file, kHint);
  policy::Rule rule;
  const std::string effect = table.text("effect", true);
  if (effect != "allow" && effect != "deny") bad(file, source.source(), "effect is neither allow nor deny");
  rule.effect = effect == "allow" ? policy::Effect::allow : policy::Effect::deny;
  rule.methods = table.texts("methods");
  for (const auto& method : rule.methods) {
    if (!http::is_token(method)) bad(file, source.source(), "bad method " + printable(method));
  }
  for (const auto& text : table.texts("paths")) {
    auto pattern = http::PathPattern::parse(text);
    if (!pattern) bad(file, source.source(), "bad path pattern " + printable(text));
    rule.paths.push_back(std::move(*pattern));
  }
  if (rule.methods.empty() || rule.paths.empty()) bad(file, source.source(), "a rule needs methods and paths");
  table.refuse_unknown();
  return rule;
}

void check_documentation(const Preset& preset, const std::string& file, const toml::table& document) {
  if (!preset.documentation.starts_with("https://")) {
    bad(file, document.source(), "documentation is not the address of a page");
  }
}

Rates read_rates(StrictTable& table) {
  Rates rates{table.amount("input"), table.amount("output")};
  if (table.has("cached")) rates.cached = table.amount("cached");
  return rates;
}

Price parse_price(const toml::table& source, const std::string& file) {
  StrictTable table(source, file, kHint);
  Price price{table.text("model", true), read_rates(table)};
  if (const auto* dearer = table.table("long")) {
    StrictTable rates(*dearer, file, kHint);
    price.long_above = rates.count("above", 1, kMostTokens);
    price.long_rates = read_rates(rates);
    rates.refuse_unknown();
  }
  table.refuse_unknown();
  return price;
}

void read_origin(StrictTable& table, Preset& preset) {
  preset.url_example = table.text("url_example", false);
  const auto origin = table.text("origin", false);
  preset.needs_url = origin.empty();
  if (!preset.needs_url) preset.binding.origin = net::Origin::parse(origin);
  preset.binding.base = parse_base(table.text("base", false));
  preset.binding.client_base = parse_base(table.text("client_base", false));
}

void read_places(StrictTable& table, Binding& binding) {
  if (const auto inject = table.text("inject", false); !inject.empty()) binding.inject = Injection::parse(inject);
  for (const auto& text : table.texts("accept")) {
    const Place place = Place::parse(text);
    // What is cut out there must be filled again.
    if ((place.kind == Place::Kind::body || place.kind == Place::Kind::path) && place != binding.inject.place) {
      throw Error(ErrorKind::usage, "accept: a place in path or body must be the one where the key goes");
    }
    binding.accept.push_back(place);
  }
  binding.anonymous = table.flag("anonymous");
  binding.git = table.flag("git");
  binding.opaque_slashes = table.flag("opaque_slashes");
}

}  // namespace

Preset parse_preset(std::string_view toml, const std::string& file) {
  toml::table document;
  try {
    document = toml::parse(toml, file);
  } catch (const toml::parse_error& error) {
    bad(file, error.source(), std::string(error.description()));
  }
  StrictTable table(document, file, kHint);
  Preset preset;
  preset.name = table.text("name", true);
  preset.title = table.text("title", true);
  preset.documentation = table.text("documentation", true);
  if (!valid_name(preset.name)) bad(file, document.source(), "bad name");
  check_documentation(preset, file, document);
  auto& binding = preset.binding;
  binding.provider = preset.name;
  try {
    read_origin(table, preset);
    read_places(table, binding);
  } catch (const Error& error) {
    if (std::string_view(error.what()).starts_with(file)) throw;
    bad(file, document.source(), error.what());
  }
  binding.env = table.texts("env");
  binding.env_url = table.texts("env_url");
  for (const auto* list : {&binding.env, &binding.env_url}) {
    for (const auto& variable : *list) {
      if (!valid_variable(variable)) bad(file, document.source(), "bad variable " + printable(variable));
    }
  }
  preset.key_shapes = table.texts("key");
  if (const auto* prices = table.tables("prices")) {
    for (const auto& price : *prices) preset.metering.prices.push_back(parse_price(*price.as_table(), file));
  }
  if (const auto usage = table.text("usage", false); !usage.empty()) {
    const auto shape = parse_shape(usage);
    if (!shape) bad(file, document.source(), "usage is openai, anthropic, gemini or opaque");
    preset.metering.shape = *shape;
  }
  if (const auto* rules = table.tables("rules")) {
    for (const auto& rule : *rules) binding.rules.push_back(parse_rule(*rule.as_table(), file));
  }
  if (binding.rules.empty()) bad(file, document.source(), "a preset needs rules");
  table.refuse_unknown();
  return preset;
}

namespace {

/// Those in a folder of the user's.
std::vector<Preset> own_presets(const std::filesystem::path& folder) {
  std::vector<Preset> presets;
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator(folder, missing)) {
    if (entry.path().extension() != ".toml") continue;
    const auto contents = read_file(entry.path(), kMaxFile);
    if (!contents) continue;
    presets.push_back(parse_preset(as_text(*contents), entry.path().string()));
    presets.back().file = entry.path().string();
  }
  return presets;
}

}  // namespace

Presets Presets::load(const std::filesystem::path& folder) {
  std::map<std::string, Preset> by_name;
  for (const auto* file = kPresets; file->name != nullptr; ++file) {
    Preset preset = parse_preset(file->text, file->name);
    by_name[preset.name] = std::move(preset);
  }
  for (auto& preset : own_presets(folder)) by_name[preset.name] = std::move(preset);
  Presets presets;
  for (auto& [name, preset] : by_name) presets.list_.push_back(std::move(preset));
  return presets;
}

const Preset* Presets::find(const std::string& name) const {
  const auto found = std::find_if(list_.begin(), list_.end(), [&](const auto& preset) { return preset.name == name; });
  return found == list_.end() ? nullptr : &*found;
}

const Preset& Presets::get(const std::string& name) const {
  if (const auto* preset = find(name)) return *preset;
  throw Error(ErrorKind::not_found, "there is no provider \"" + printable(name) + "\"",
              "\"agentvault provider list\" shows them; for others use --provider generic --url ORIGIN");
}

Metering metering_of(const std::string& provider, const std::filesystem::path& folder) {
  for (const auto& preset : own_presets(folder)) {
    if (preset.name == provider) return preset.metering;
  }
  for (const auto* file = kPresets; file->name != nullptr; ++file) {
    if (provider + ".toml" == file->name) return parse_preset(file->text, file->name).metering;
  }
  return {};
}

std::filesystem::path preset_folder() {
  const char* config = std::getenv("XDG_CONFIG_HOME");
  const char* home = std::getenv("HOME");
  const std::filesystem::path base = config != nullptr && *config == '/' ? std::filesystem::path(config)
                                     : home != nullptr                   ? std::filesystem::path(home) / ".config"
                                                                         : "";
  return base.empty() ? base : base / "agentvault/providers";
}

bool has_shape(const Preset& preset, const SecretBytes& secret) {
  const auto text = as_text(secret.reveal());
  return preset.key_shapes.empty() || std::any_of(preset.key_shapes.begin(), preset.key_shapes.end(),
                                                  [&](const auto& shape) { return glob_matches(shape, text); });
}

}  // namespace agentvault::provider
