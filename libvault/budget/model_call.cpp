#include "budget/model_call.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <vector>

#include "base/saturating.hpp"
#include "base/text.hpp"
#include "http/json_walker.hpp"
#include "provider/model_requests.hpp"

namespace agentvault::budget {
namespace {

using provider::ModelRequests;
using provider::RequestForm;
using Kind = RequestForm::Kind;

constexpr double kMostCount = 1e15;

/// Looks through a whole request.
class RequestReader final : public http::JsonWalker {
 public:
  explicit RequestReader(const RequestForm& form) : form_(form) {}

  std::string model;
  std::uint64_t images = 0;
  std::uint64_t output = 0;  // 0: not said
  std::uint64_t answers = 1;
  std::uint64_t prompts = 0;
  bool twice = false;
  bool caches = false;
  std::string problem;

 private:
  /// What the members of an open object are, or the elements of an open list.
  struct Inside {
    Kind kind;
    const RequestForm* form = nullptr;  // of the objects in here
    const std::vector<std::string>* choices = nullptr;
    const std::string* companion = nullptr;  // what goes with the type that it says
    std::set<std::string> said = {};         // of what the form asks for
  };

  /// What stands at the current place may be; nothing: it was rejected.
  std::optional<Inside> expected() {
    auto& inside = inside_.back();
    if (!levels().back().is_object || inside.kind == Kind::own) return inside;
    const auto& name = levels().back().name;
    const auto* member = inside.form->find(name);
    if (member == nullptr) return reject(), std::nullopt;
    if (asks_for(*inside.form, name)) inside.said.insert(name);
    return Inside{member->kind, member->kind == Kind::type ? inside.form : member->form, &member->choices};
  }
  static bool asks_for(const RequestForm& form, const std::string& name) {
    return std::find(form.needs.begin(), form.needs.end(), name) != form.needs.end() ||
           std::any_of(form.companions.begin(), form.companions.end(),
                       [&](const auto& companion) { return companion.second == name; });
  }

  bool reject(const std::string& value = {}) {
    if (problem.empty())
      problem = place(levels().size()) + (value.empty() ? "" : " = \"" + printable(value, 40) + "\"");
    return true;
  }
  std::string place(std::size_t depth) const {
    std::string text;
    for (std::size_t i = 0; i < depth; ++i) text += (i == 0 ? "" : "/") + printable(levels()[i].name, 40);
    return text;
  }

  bool on_text(const std::string& text) override {
    if (levels().empty()) return refuse("it is no JSON object");
    const auto place = expected();
    if (!place) return true;
    if (inside_.size() == 1 && levels().back().name == "model") model = text;
    switch (place->kind) {
      case Kind::type:
        look_for_companion(text);
        return count(place->form->cost_of_type(text), text);
      case Kind::choice: {
        const auto fits = [&](const auto& choice) { return glob_matches(choice, text); };
        return std::any_of(place->choices->begin(), place->choices->end(), fits) || reject(text);
      }
      case Kind::prompts:
        if (!levels().back().is_object) ++prompts;
        return true;
      case Kind::output:
      case Kind::answers:
      case Kind::off:
        return reject(text);
      default:
        return true;
    }
  }

  void look_for_companion(const std::string& type) {
    auto& inside = inside_.back();
    const auto found = inside.form->companions.find(type);
    if (found != inside.form->companions.end()) inside.companion = &found->second;
  }

  bool count(const RequestForm::Cost* cost, const std::string& type) {
    if (cost == nullptr) return reject(type);
    if (*cost == RequestForm::Cost::image) ++images;
    if (*cost == RequestForm::Cost::twice) twice = true;
    return true;
  }

  bool on_number(double number) override {
    if (levels().empty()) return refuse("it is no JSON object");
    const auto place = expected();
    if (!place) return true;
    const auto whole = [&] { return static_cast<std::uint64_t>(std::min(std::ceil(number), kMostCount)); };
    switch (place->kind) {
      case Kind::output:
        if (!(number >= 0)) return reject();
        output = std::max(output, whole());
        return true;
      case Kind::answers:
        if (!(number >= 1)) return reject();
        answers = std::max(answers, whole());
        return true;
      case Kind::type:
      case Kind::choice:
      case Kind::off:
        return reject();
      default:
        return true;
    }
  }

  bool on_flag(bool flag) override {
    if (levels().empty()) return refuse("it is no JSON object");
    const auto place = expected();
    if (!place) return true;
    const bool ordinary = place->kind != Kind::output && place->kind != Kind::answers && place->kind != Kind::type &&
                          place->kind != Kind::choice;
    return (ordinary && !(flag && place->kind == Kind::off)) || reject();
  }

  /// As if the member were not there.
  bool on_null() override { return !levels().empty() || refuse("it is no JSON object"); }

  bool on_container(bool is_object) override {
    if (levels().empty()) {
      if (!is_object) return refuse("it is no JSON object");
      inside_.push_back({Kind::form, &form_});
      return true;
    }
    const auto place = expected();
    inside_.push_back(place ? within(*place, is_object) : Inside{Kind::own});
    return true;
  }

  Inside within(const Inside& place, bool is_object) {
    switch (place.kind) {
      case Kind::own:
        return {Kind::own};
      case Kind::cache:
        caches = true;
        return {Kind::own};
      case Kind::form:
        if (!is_object) return place;
        if (place.form->counts_as_image) ++images;
        return {Kind::form, place.form};
      case Kind::prompts:
        // A list of them; one that is a list of tokens is one.
        if (is_object) break;
        if (levels().back().is_object) return place;
        ++prompts;
        return {Kind::plain};
      case Kind::plain:
      case Kind::choice:
        if (is_object) break;
        return place;
      default:
        break;
    }
    reject();
    return {Kind::own};
  }

  void on_close() override {
    const auto& inside = inside_.back();
    if (levels().back().is_object && inside.kind == Kind::form) {
      const auto& needs = inside.form->needs;
      const auto is_said = [&](const std::string& name) { return inside.said.contains(name); };
      if (!needs.empty() && std::none_of(needs.begin(), needs.end(), is_said)) lacks(needs.front());
      if (inside.companion != nullptr && !is_said(*inside.companion)) lacks(*inside.companion);
    }
    inside_.pop_back();
  }
  void lacks(const std::string& name) {
    if (problem.empty()) problem = place(levels().size() - 1) + " without \"" + name + "\"";
  }

  const RequestForm& form_;
  std::vector<Inside> inside_;  // one for each of levels()
};

/// "/v1beta/models/gemini-2.5-pro:generateContent"
std::string model_in(const std::string& path) {
  const auto last = path.substr(path.rfind('/') + 1);
  return last.substr(0, last.rfind(':'));
}

/// ".../deployments/NAME/...": what Azure obeys, whatever the body says.
std::string deployment_of(const std::string& path) {
  constexpr std::string_view folder = "/deployments/";
  const auto at = lower(path).find(folder);
  if (at == std::string::npos) return {};
  const auto rest = path.substr(at + folder.size());
  return rest.substr(0, rest.find('/'));
}

provider::ModelTokens most_of(const RequestReader& request, const RequestForm& form, const ModelRequests& known,
                              std::size_t size) {
  const std::uint64_t times = request.twice ? 2 : 1;
  provider::ModelTokens most;
  most.input = saturating_sum(size + known.tokens_besides, saturating_product(request.images, known.tokens_of_image));
  most.input = saturating_product(most.input, times);
  if (request.caches) most.cache_writes = most.input;
  if (form.answerless) return most;
  const auto answers = saturating_product(request.answers, std::max<std::uint64_t>(request.prompts, 1));
  const auto each = request.output > 0 ? request.output : known.most_output;
  most.output = saturating_product(saturating_product(each, answers), times);
  return most;
}

}  // namespace

std::variant<NoModelCall, ModelCall, Unbounded> read_model_call(provider::Metering::Shape shape,
                                                                const std::string& method, const std::string& path,
                                                                const std::string* body) {
  if (shape == provider::Metering::Shape::none) return NoModelCall{};
  if (method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "DELETE") return NoModelCall{};
  const auto* known = ModelRequests::of(shape);
  const auto* call = known != nullptr ? known->call_at(path) : nullptr;
  if (call == nullptr) return Unbounded{"what requests like this use is not known"};
  if (call->form == nullptr) return NoModelCall{};
  if (body == nullptr) return Unbounded{"the body is too large to be read"};
  RequestReader request(*call->form);
  if (!http::walk_json(*body, request)) {
    return Unbounded{"the body cannot be read" + (request.reason().empty() ? "" : ": " + request.reason())};
  }
  if (!request.problem.empty()) {
    return Unbounded{"the request holds " + request.problem + ", for which no limit is known"};
  }
  ModelCall found{known->model == ModelRequests::ModelPlace::path ? model_in(path) : request.model, {}};
  if (const auto deployment = deployment_of(path); !deployment.empty()) found.model = deployment;
  if (found.model.empty()) return Unbounded{"the request names no model"};
  for (const auto& more : known->unbounded_models) {
    if (glob_matches(more, found.model)) return Unbounded{"this model brings in more than the request holds"};
  }
  found.most = most_of(request, *call->form, *known, body->size());
  return found;
}

}  // namespace agentvault::budget
