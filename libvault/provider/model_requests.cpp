#include "provider/model_requests.hpp"

#include <algorithm>

#include "base/embedded_file.hpp"
#include "base/text.hpp"
#include "policy/strict_table.hpp"

namespace agentvault {
extern const EmbeddedFile kModelRequests[];
}

namespace agentvault::provider {
namespace {

using policy::StrictTable;
using Kind = RequestForm::Kind;

constexpr const char* kHint = "see schemas/models.md";
constexpr std::uint64_t kMost = 1'000'000;

const std::map<std::string, Kind, std::less<>> kLists{
    {"plain", Kind::plain},     {"own", Kind::own},     {"output", Kind::output}, {"answers", Kind::answers},
    {"prompts", Kind::prompts}, {"cache", Kind::cache}, {"off", Kind::off}};
const std::map<std::string, RequestForm::Cost, std::less<>> kCosts{
    {"text", RequestForm::Cost::text}, {"image", RequestForm::Cost::image}, {"twice", RequestForm::Cost::twice}};

std::string in_snake_case(const std::string& name) {
  std::string out;
  for (const char c : name) {
    const bool upper = c >= 'A' && c <= 'Z';
    if (upper) out += '_';
    out += upper ? to_lower(c) : c;
  }
  return out;
}

class Reader {
 public:
  explicit Reader(const EmbeddedFile& file)
      : file_(file.name), document_(policy::parse_toml(file.text, file_, kHint)), table_(document_, file_, kHint) {}

  ModelRequests read() {
    out_.tokens_of_image = table_.count("tokens_of_image", 0, kMost);
    out_.tokens_besides = table_.count("tokens_besides", 0, kMost);
    out_.most_output = table_.count("most_output", 0, kMost);
    const auto place = table_.text("model", true);
    if (place != "body" && place != "path") table_.refuse("model", "it is in the body or in the path");
    out_.model = place == "body" ? ModelRequests::ModelPlace::body : ModelRequests::ModelPlace::path;
    snake_case_ = table_.flag("snake_case");
    out_.unbounded_models = table_.texts("unbounded_models");
    const auto* forms = table_.table("forms");
    if (forms == nullptr) table_.refuse("forms", "forms are missing");
    for (const auto& [name, form] : *forms) out_.forms[std::string(name.str())].name = std::string(name.str());
    for (const auto& [name, form] : *forms) read_form(out_.forms.at(std::string(name.str())), as_table(form));
    if (const auto* calls = table_.tables("calls")) {
      for (const auto& call : *calls) read_call(as_table(call));
    }
    table_.refuse_unknown();
    return std::move(out_);
  }

 private:
  const toml::table& as_table(const toml::node& node) const {
    if (const auto* table = node.as_table()) return *table;
    table_.refuse(node, "a table is missing");
  }

  const RequestForm* form(StrictTable& table, std::string_view key, const std::string& name) const {
    const auto found = out_.forms.find(name);
    if (found == out_.forms.end()) table.refuse(key, "there is no form " + name);
    return &found->second;
  }

  void add(RequestForm& form, const std::string& name, const RequestForm::Member& member) const {
    form.members[name] = member;
    if (snake_case_) form.members[in_snake_case(name)] = member;
  }

  void read_form(RequestForm& form, const toml::table& source) const {
    StrictTable table(source, file_, kHint);
    for (const auto& [list, kind] : kLists) {
      for (const auto& name : table.texts(list)) add(form, name, {kind});
    }
    read_choices(form, table);
    read_forms(form, table);
    if (const auto* types = table.table("types")) {
      StrictTable costs(*types, file_, kHint);
      for (const auto& [type, cost] : *types) {
        const auto found = kCosts.find(costs.text(type.str(), true));
        if (found == kCosts.end()) costs.refuse(type.str(), "text, image or twice");
        form.types[std::string(type.str())] = found->second;
      }
      form.members["type"] = {Kind::type};
    }
    if (const auto* companions = table.table("companions")) {
      StrictTable members(*companions, file_, kHint);
      for (const auto& [type, member] : *companions) {
        form.companions[std::string(type.str())] = members.text(type.str(), true);
      }
    }
    form.needs = table.texts("needs");
    form.counts_as_image = table.text("counts", false) == "image";
    form.answerless = table.flag("answerless");
    table.refuse_unknown();
  }

  void read_choices(RequestForm& form, StrictTable& table) const {
    const auto* choices = table.table("choices");
    if (choices == nullptr) return;
    StrictTable lists(*choices, file_, kHint);
    for (const auto& [name, list] : *choices) {
      add(form, std::string(name.str()), {Kind::choice, lists.texts(name.str())});
    }
  }

  void read_forms(RequestForm& out, StrictTable& table) const {
    const auto* forms = table.table("forms");
    if (forms == nullptr) return;
    StrictTable names(*forms, file_, kHint);
    for (const auto& [name, node] : *forms) {
      add(out, std::string(name.str()), {Kind::form, {}, form(names, name.str(), names.text(name.str(), true))});
    }
  }

  void read_call(const toml::table& source) {
    StrictTable table(source, file_, kHint);
    ModelRequests::Call call{table.texts("paths")};
    if (const auto name = table.text("form", false); !name.empty()) call.form = form(table, "form", name);
    table.refuse_unknown();
    out_.calls.push_back(std::move(call));
  }

  std::string file_;
  toml::table document_;
  StrictTable table_;
  bool snake_case_ = false;
  ModelRequests out_;
};

/// The last segments of a path, each against one of the pattern's.
bool ends_like(std::string_view path, std::string_view pattern) {
  const auto wanted = split(pattern, '/');
  const auto segments = split(path, '/');
  if (segments.size() < wanted.size()) return false;
  // A pattern begins with a slash: its first part is empty.
  for (std::size_t i = 1; i < wanted.size(); ++i) {
    if (!glob_matches(wanted[wanted.size() - i], segments[segments.size() - i])) return false;
  }
  return true;
}

}  // namespace

const RequestForm::Member* RequestForm::find(const std::string& member) const {
  const auto found = members.find(member);
  return found == members.end() ? nullptr : &found->second;
}

const RequestForm::Cost* RequestForm::cost_of_type(std::string_view type) const {
  for (const auto& [known, cost] : types) {
    if (known == type) return &cost;
    if (!known.ends_with('#')) continue;
    const auto stem = std::string_view(known).substr(0, known.size() - 1);
    if (type.starts_with(stem) && parse_unsigned(type.substr(stem.size()))) return &cost;
  }
  return nullptr;
}

const ModelRequests::Call* ModelRequests::call_at(std::string_view path) const {
  for (const auto& call : calls) {
    if (std::any_of(call.paths.begin(), call.paths.end(), [&](const auto& end) { return ends_like(path, end); })) {
      return &call;
    }
  }
  return nullptr;
}

const ModelRequests* ModelRequests::of(Metering::Shape shape) {
  static const auto all = [] {
    std::map<Metering::Shape, ModelRequests> read;
    for (const auto* file = kModelRequests; file->name != nullptr; ++file) {
      const std::string_view name = file->name;  // that of a shape, and ".toml"
      read.emplace(parse_shape(name.substr(0, name.rfind('.'))).value(), Reader(*file).read());
    }
    return read;
  }();
  const auto found = all.find(shape);
  return found == all.end() ? nullptr : &found->second;
}

}  // namespace agentvault::provider
