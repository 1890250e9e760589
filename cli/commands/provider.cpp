#include "provider/preset.hpp"

#include "base/text.hpp"
#include "commands/commands.hpp"
#include "open_vault.hpp"
#include "output.hpp"
#include "rule_lines.hpp"
#include "terminal.hpp"

namespace agentvault::cli {
namespace {

using provider::Preset;
using provider::Presets;

std::string origin_of(const Preset& preset) {
  if (!preset.needs_url) return preset.binding.origin.text() + preset.binding.base;
  return preset.url_example.empty() ? "as --url says" : "for example " + preset.url_example;
}

/// US dollars for a million tokens.
std::string rates_text(const provider::Rates& rates) {
  char text[100];
  std::snprintf(text, sizeof text, "%g in, %g out", rates.input, rates.output);
  char cached[50] = "";
  if (rates.cached) std::snprintf(cached, sizeof cached, ", %g cached", *rates.cached);
  return std::string(text) + cached + " USD per million tokens";
}

std::vector<std::string> price_lines(const Preset& preset) {
  std::vector<std::string> lines;
  for (const auto& price : preset.metering.prices) {
    lines.push_back(price.model + " " + rates_text(price.rates));
    if (price.long_above) {
      lines.back() += "; above " + std::to_string(*price.long_above) + " tokens " + rates_text(price.long_rates);
    }
  }
  return lines;
}

std::vector<std::string> place_lines(const std::vector<provider::Place>& places) {
  std::vector<std::string> lines;
  for (const auto& place : places) lines.push_back(place.text());
  return lines;
}

}  // namespace

int run_provider_list(const Arguments& arguments) {
  std::vector<Record> records;
  const auto presets = Presets::load(provider::preset_folder());
  for (const auto& preset : presets.list()) {
    records.push_back({{"name", preset.name},
                       {"title", preset.title},
                       {"origin", origin_of(preset)},
                       {"env", preset.binding.env},
                       {"source", preset.file.empty() ? "agentvault" : preset.file}});
  }
  print_table(records, arguments.json, "no presets");
  return 0;
}

int run_provider_show(const Arguments& arguments) {
  const auto presets = Presets::load(provider::preset_folder());
  const Preset& preset = presets.get(arguments.name);
  const auto& binding = preset.binding;
  Record record{{"name", preset.name},
                {"title", preset.title},
                {"documentation", preset.documentation},
                {"origin", origin_of(preset)},
                {"inject", binding.inject.text()},
                {"accept", place_lines(binding.places())},
                {"env", binding.env},
                {"env_url", binding.env_url},
                {"key", preset.key_shapes},
                {"anonymous", binding.anonymous},
                {"git", binding.git},
                {"prices", price_lines(preset)},
                {"source", preset.file.empty() ? "agentvault" : preset.file}};
  add_rules(binding.rules, arguments.json, record);
  print_record(record, arguments.json);
  return 0;
}

int run_provider_update(const Arguments& arguments) {
  harden_process();
  const auto paths = arguments.paths_of_vault();
  paths.check();
  const auto presets = Presets::load(provider::preset_folder());
  {
    auto vault = open_vault_for_change(arguments);
    const auto* row = vault.find(arguments.name);
    if (row == nullptr) {
      throw Error(ErrorKind::not_found, "there is no credential named " + printable(arguments.name),
                  "\"agentvault list\" shows the names");
    }
    auto binding = provider::Binding::from_json(row->binding);
    const std::string before = binding.to_json();
    const auto& preset = presets.get(binding.provider).binding;
    // Where the secret goes, and what the environment calls it, is the user's own choice and stays.
    binding.rules = preset.rules;
    binding.accept = preset.accept;
    binding.anonymous = preset.anonymous;
    binding.git = preset.git;
    binding.opaque_slashes = preset.opaque_slashes;
    if (binding.to_json() == before) {
      note(arguments.name + " has the rules of its preset already");
      return 0;
    }
    vault.replace({arguments.name, binding.to_json(), vault.secret_of(*row)});
    note("updated " + arguments.name + " to the preset " + binding.provider + ": \"agentvault show " + arguments.name +
         "\" lists its rules");
    report_barrier(vault);
  }
  withdraw_credential(paths, arguments.name);
  return 0;
}

}  // namespace agentvault::cli
