#include "provider/preset.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <set>

#include "base/embedded_file.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "http/fields.hpp"

namespace agentvault {
extern const EmbeddedFile kPresets[];
}

namespace agentvault::provider {
namespace {

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
  auto& binding = preset.binding;
  binding.provider = preset.name;
  if (const auto origin = table.text("origin", false); !origin.empty()) {
    binding.origin = net::Origin::parse(origin);
  } else {
    preset.needs_url = true;
  }
  if (const auto inject = table.text("inject", false); !inject.empty()) {
    binding.inject = Injection::parse(inject);
  } else {
    preset.needs_inject = true;
  }
  binding.base = parse_base(table.text("base", false));
  binding.client_base = parse_base(table.text("client_base", false));
  binding.accept_query = table.text("accept_query", false);
  binding.env = table.texts("env");
  binding.env_url = table.texts("env_url");
  for (const auto* list : {&binding.env, &binding.env_url}) {
    for (const auto& variable : *list) {
      if (!valid_variable(variable)) bad(file, document.source(), "bad variable " + printable(variable));
    }
  }
  if (const auto* rules = table.tables("rules")) {
    for (const auto& rule : *rules) binding.rules.push_back(parse_rule(*rule.as_table(), file));
  }
  if (binding.rules.empty()) bad(file, document.source(), "a preset needs rules");
  table.refuse_unknown();
  return preset;
}

const std::vector<Preset>& presets() {
  static const std::vector<Preset> all = [] {
    std::vector<Preset> list;
    for (const auto* file = kPresets; file->name != nullptr; ++file)
      list.push_back(parse_preset(file->text, file->name));
    std::sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    return list;
  }();
  return all;
}

bool has_preset(const std::string& name) {
  return std::any_of(presets().begin(), presets().end(), [&](const auto& preset) { return preset.name == name; });
}

const Preset& find_preset(const std::string& name) {
  for (const auto& preset : presets()) {
    if (preset.name == name) return preset;
  }
  std::vector<std::string> names;
  for (const auto& preset : presets()) names.push_back(preset.name);
  throw Error(ErrorKind::not_found, "there is no provider \"" + printable(name) + "\"",
              "known are: " + join(names, ", ") + "; for others use --provider generic --url ORIGIN");
}

}  // namespace agentvault::provider
