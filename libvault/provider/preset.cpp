#include "provider/preset.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "base/embedded_file.hpp"
#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "http/fields.hpp"

namespace agentvault {
extern const EmbeddedFile kPresets[];
}

namespace agentvault::provider {
namespace {

constexpr std::size_t kMaxFile = 256 * 1024;

[[noreturn]] void bad(const std::string& file, const toml::source_region& where, const std::string& what) {
  throw Error(ErrorKind::usage, file + ":" + std::to_string(where.begin.line) + ": " + what, "see schemas/presets.md");
}

/// One table, read strictly: every key is asked for, and what was not asked for is an error.
class Table {
 public:
  Table(const toml::table& table, const std::string& file) : table_(table), file_(file) {}

  std::string text(const char* key, bool required) {
    asked_.insert(key);
    const auto* node = table_.get(key);
    if (node == nullptr) {
      if (required) bad(file_, table_.source(), std::string("missing ") + key);
      return {};
    }
    const auto value = node->value_exact<std::string>();
    if (!value) bad(file_, node->source(), std::string(key) + " is not a string");
    return *value;
  }

  std::vector<std::string> texts(const char* key) {
    asked_.insert(key);
    const auto* node = table_.get(key);
    if (node == nullptr) return {};
    const auto* array = node->as_array();
    if (array == nullptr) bad(file_, node->source(), std::string(key) + " is not a list");
    std::vector<std::string> out;
    for (const auto& item : *array) {
      const auto value = item.value_exact<std::string>();
      if (!value) bad(file_, item.source(), std::string(key) + " holds something that is not a string");
      out.push_back(*value);
    }
    return out;
  }

  bool flag(const char* key) {
    asked_.insert(key);
    const auto* node = table_.get(key);
    if (node == nullptr) return false;
    const auto value = node->value_exact<bool>();
    if (!value) bad(file_, node->source(), std::string(key) + " is neither true nor false");
    return *value;
  }

  double amount(const char* key) {
    asked_.insert(key);
    const auto* node = table_.get(key);
    const auto value = node != nullptr ? node->value<double>() : std::nullopt;
    if (!value || !(*value >= 0)) bad(file_, table_.source(), std::string(key) + " is not an amount");
    return *value;
  }

  const toml::array* tables(const char* key) {
    asked_.insert(key);
    const auto* node = table_.get(key);
    if (node == nullptr) return nullptr;
    if (!node->is_array_of_tables()) bad(file_, node->source(), std::string(key) + " is not a list of tables");
    return node->as_array();
  }

  void refuse_unknown() const {
    for (const auto& [key, node] : table_) {
      if (!asked_.contains(key.str())) bad(file_, key.source(), "unknown key " + printable(key.str()));
    }
  }

 private:
  const toml::table& table_;
  std::string file_;
  std::set<std::string, std::less<>> asked_;
};

policy::Rule parse_rule(const toml::table& source, const std::string& file) {
  Table table(source, file);
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

/// '*' is any run of characters.
bool matches(std::string_view pattern, std::string_view text) {
  const auto star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == text;
  if (text.substr(0, star) != pattern.substr(0, star)) return false;
  const auto rest = pattern.substr(star + 1);
  for (std::size_t from = star; from <= text.size(); ++from) {
    if (matches(rest, text.substr(from))) return true;
  }
  return false;
}

void check_documentation(const Preset& preset, const std::string& file, const toml::table& document) {
  if (!preset.documentation.starts_with("https://")) {
    bad(file, document.source(), "documentation is not the address of a page");
  }
}

Price parse_price(const toml::table& source, const std::string& file) {
  Table table(source, file);
  Price price{table.text("model", true), table.amount("input"), table.amount("output")};
  table.refuse_unknown();
  return price;
}

void read_origin(Table& table, Preset& preset) {
  preset.url_example = table.text("url_example", false);
  const auto origin = table.text("origin", false);
  preset.needs_url = origin.empty();
  if (!preset.needs_url) preset.binding.origin = net::Origin::parse(origin);
  preset.binding.base = parse_base(table.text("base", false));
  preset.binding.client_base = parse_base(table.text("client_base", false));
}

void read_places(Table& table, Binding& binding) {
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
  Table table(document, file);
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
    for (const auto& price : *prices) preset.prices.push_back(parse_price(*price.as_table(), file));
  }
  if (const auto* rules = table.tables("rules")) {
    for (const auto& rule : *rules) binding.rules.push_back(parse_rule(*rule.as_table(), file));
  }
  if (binding.rules.empty()) bad(file, document.source(), "a preset needs rules");
  table.refuse_unknown();
  return preset;
}

Presets Presets::load(const std::filesystem::path& folder) {
  std::map<std::string, Preset> by_name;
  for (const auto* file = kPresets; file->name != nullptr; ++file) {
    Preset preset = parse_preset(file->text, file->name);
    by_name[preset.name] = std::move(preset);
  }
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator(folder, missing)) {
    if (entry.path().extension() != ".toml") continue;
    const auto contents = read_file(entry.path(), kMaxFile);
    if (!contents) continue;
    Preset preset = parse_preset(as_text(*contents), entry.path().string());
    preset.file = entry.path().string();
    by_name[preset.name] = std::move(preset);
  }
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
                                                  [&](const auto& shape) { return matches(shape, text); });
}

}  // namespace agentvault::provider
