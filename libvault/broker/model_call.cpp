#include "broker/model_call.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/text.hpp"
#include "http/json_walker.hpp"

namespace agentvault::broker {
namespace {

using nlohmann::json;
using Shape = provider::Metering::Shape;

constexpr std::uint64_t kMostOutput = 131'072;
constexpr std::uint64_t kTokensOfImage = 10'000;
constexpr std::uint64_t kTokensBesides = 2'000;
constexpr std::uint64_t kMostCount = 1'000'000'000'000;
constexpr double kCacheWriteFactor = 2;  // of the input's price, the dearest that is known
constexpr std::size_t kMostPending = std::size_t{4} << 20;

/// How often a request wants to be answered.
constexpr std::array kMultipliers{"n", "best_of", "candidateCount", "candidate_count"};
/// Tiers that cost what the price says, or less. "auto" is what a project's settings say.
constexpr std::array kUsualTiers{"auto", "default", "flex", "standard", "standard_only"};
/// What brings in more than the request holds: settings of the whole request, parts of a message, tools that the
/// provider runs, and what "type" says of parts. Tools that the agent runs itself are "function" and "custom".
constexpr std::array kOutsideSettings{
    "previous_response_id", "conversation", "cachedContent", "cached_content", "web_search_options",
    "mcp_servers",          "container",    "prediction",    "models",         "plugins",
    "search_parameters",    "web_search",   "modalities",    "audio",          "speed"};
constexpr std::array kOutsideParts{"fileData", "file_data", "file_id", "file_url"};
constexpr std::array kOutsideTypes{"document", "input_file", "file",           "input_audio",     "audio_url",
                                   "video",    "video_url",  "item_reference", "container_upload"};
constexpr std::array kImageTypes{"image", "image_url", "input_image", "computer_screenshot"};
/// The tools of Gemini's that the agent runs itself.
constexpr std::array kOwnTools{"functionDeclarations", "function_declarations"};
/// Members whose contents are the agent's own: schemas of tools, and what they were called with.
constexpr std::array kFreeForm{"input",  "input_schema", "parameters", "args",    "arguments",
                               "schema", "json_schema",  "metadata",   "response"};
constexpr std::array kFreeFormAtTop{"metadata", "response_format", "text"};

template <class List>
bool lists(const List& list, std::string_view name) {
  return std::any_of(list.begin(), list.end(), [&](const char* entry) { return name == entry; });
}

/// Where a request says how much it wants at most.
enum class Limit { max_tokens, chat, max_output_tokens, generation_config };

Limit limit_of(Shape shape, const std::string& path) {
  if (shape == Shape::gemini) return Limit::generation_config;
  if (path.ends_with("/responses")) return Limit::max_output_tokens;
  return path.ends_with("/chat/completions") ? Limit::chat : Limit::max_tokens;
}

/// Looks through a whole request.
class RequestWalker final : public http::JsonWalker {
 public:
  explicit RequestWalker(Limit limit) : gemini_(limit == Limit::generation_config), limit_(limit) {}

  std::string model;
  std::uint64_t images = 0;
  std::uint64_t output = 0;  // 0: not said
  std::uint64_t multiplier = 1;
  std::uint64_t prompts = 0;  // of a list; each is answered
  bool caches = false;
  std::string problem;

  /// An item that is only an id stands for one of an earlier conversation.
  bool names_earlier_items() const {
    return std::any_of(with_id_.begin(), with_id_.end(), [&](const auto& item) { return !with_kind_.contains(item); });
  }

 private:
  const std::string& name() const { return levels().back().name; }
  bool at_top() const { return levels().size() == 1; }
  bool in_generation_config() const {
    return levels().size() == 2 && (levels()[0].name == "generationConfig" || levels()[0].name == "generation_config");
  }
  bool in_tool() const { return levels().size() == 3 && levels()[0].name == "tools"; }

  /// Whether this is inside of something that is the agent's own business. What begins such a part is remembered, so
  /// that deep ones cost no more than others.
  bool is_free_form() {
    if (levels().size() <= free_depth_) free_depth_ = 0;
    return free_depth_ > 0 || begins_free_form();
  }
  bool begins_free_form() const { return at_top() ? lists(kFreeFormAtTop, name()) : lists(kFreeForm, name()); }

  /// Only what this service obeys: a limit that it ignores would bound nothing.
  bool is_limit() const {
    switch (limit_) {
      case Limit::max_tokens:
        return at_top() && name() == "max_tokens";
      case Limit::chat:
        return at_top() && (name() == "max_tokens" || name() == "max_completion_tokens");
      case Limit::max_output_tokens:
        return at_top() && name() == "max_output_tokens";
      case Limit::generation_config:
        return in_generation_config() && (name() == "maxOutputTokens" || name() == "max_output_tokens");
    }
    return false;
  }

  bool reject(std::string reason) {
    if (problem.empty()) problem = std::move(reason);
    return true;
  }

  bool on_text(const std::string& text) override {
    if (levels().empty()) return refuse("it is no JSON object");
    if (is_free_form()) return true;
    if (at_top() && name() == "model") model = text;
    if (at_top() && name() == "service_tier" && !lists(kUsualTiers, text)) return reject("a dearer service tier");
    note_item();
    if (in_prompt()) ++prompts;
    if (is_limit() || is_multiplier()) return reject("an odd limit");
    if (name() == "type") return on_type(text);
    if (name() == "mimeType" || name() == "mime_type")
      return text.starts_with("image/") ? count_image() : reject("a file");
    return on_other();
  }
  bool in_prompt() const { return levels().size() == 2 && levels()[0].name == "prompt"; }
  void note_item() {
    if (limit_ != Limit::max_output_tokens || levels().size() != 3 || levels()[0].name != "input") return;
    const auto& item = levels()[1].name;
    if (name() == "id") with_id_.insert(item);
    if (name() == "type" || name() == "role") with_kind_.insert(item);
  }
  bool is_multiplier() const { return (at_top() || in_generation_config()) && lists(kMultipliers, name()); }
  bool on_type(const std::string& text) {
    if (in_tool() && !is_own_tool(text)) return reject("a tool that the provider runs");
    if (lists(kOutsideTypes, text)) return reject("\"" + printable(text, 40) + "\"");
    return lists(kImageTypes, text) ? count_image() : true;
  }
  /// Anthropic's own client tools, such as bash_20250124, are run by the agent as well.
  static bool is_own_tool(std::string_view type) {
    for (const std::string_view prefix : {"bash_", "text_editor_"}) {
      if (type.starts_with(prefix) && parse_unsigned(type.substr(prefix.size()))) return true;
    }
    return type == "function" || type == "custom";
  }
  bool count_image() {
    ++images;
    return true;
  }
  bool on_number(double number) override {
    if (levels().empty()) return refuse("it is no JSON object");
    if (is_free_form()) return true;
    if (is_limit()) {
      if (!(number >= 0)) return reject("an odd limit");
      output = std::max(output, static_cast<std::uint64_t>(std::min(std::ceil(number), 1e12)));
    }
    if (is_multiplier()) {
      if (!(number >= 1)) return reject("an odd number of answers");
      multiplier = std::max(multiplier, static_cast<std::uint64_t>(std::min(std::ceil(number), 1e6)));
    }
    return on_other();
  }
  bool on_flag(bool flag) override {
    if (levels().empty()) return refuse("it is no JSON object");
    if (flag && at_top() && name() == "background") return reject("an answer that is fetched later");
    return on_other();
  }
  bool on_null() override { return levels().empty() ? refuse("it is no JSON object") : true; }
  bool on_container(bool is_object) override {
    if (levels().empty()) return is_object || refuse("it is no JSON object");
    if (in_prompt()) ++prompts;
    if (is_free_form()) {
      if (free_depth_ == 0) free_depth_ = levels().size();
      return true;
    }
    if (name() == "cache_control") caches = true;
    if (at_top() && name() == "tools" && is_object) return reject("tools in an odd form");
    // A prompt that is stored at the provider; of others "prompt" is a text, or a list of texts.
    if (at_top() && name() == "prompt" && is_object) return reject("a stored prompt");
    if (is_limit() || is_multiplier()) return reject("an odd limit");
    return on_other();
  }
  bool on_other() {
    if (is_free_form()) return true;
    // A tool of Gemini's is named by its only member; one of the others has a type.
    const bool provider_tool = gemini_ && in_tool() && !lists(kOwnTools, name());
    const bool outside = provider_tool || (at_top() && lists(kOutsideSettings, name())) || lists(kOutsideParts, name());
    return outside ? reject("\"" + printable(name(), 40) + "\"") : true;
  }

  std::set<std::string> with_id_, with_kind_;  // items of "input", by their places
  std::size_t free_depth_ = 0;                 // how deep it lies; 0: outside
  bool gemini_;
  Limit limit_;
};

/// "/v1beta/models/gemini-2.5-pro:generateContent": model and method.
std::pair<std::string, std::string> gemini_target(const std::string& path) {
  const auto last = path.substr(path.rfind('/') + 1);
  const auto colon = last.rfind(':');
  if (colon == std::string::npos) return {"", ""};
  return {last.substr(0, colon), last.substr(colon + 1)};
}

/// ".../deployments/NAME/...": what Azure obeys, whatever the body says.
std::string deployment_of(const std::string& path) {
  constexpr std::string_view folder = "/deployments/";
  const auto at = lower(path).find(folder);
  if (at == std::string::npos) return {};
  const auto rest = path.substr(at + folder.size());
  return rest.substr(0, rest.find('/'));
}

enum class Kind { free, generation, embedding, unknown };

Kind openai_kind(const std::string& path) {
  for (const char* tail : {"/chat/completions", "/responses", "/completions"}) {
    if (path.ends_with(tail)) return Kind::generation;
  }
  if (path.ends_with("/embeddings")) return Kind::embedding;
  for (const char* tail : {"/moderations", "/cancel", "/files", "/input_tokens"}) {
    if (path.ends_with(tail)) return Kind::free;
  }
  if (path.ends_with("/uploads")) return Kind::free;
  const bool part_of_upload =
      path.find("/uploads/") != std::string::npos && (path.ends_with("/parts") || path.ends_with("/complete"));
  return part_of_upload ? Kind::free : Kind::unknown;
}

Kind kind_of(Shape shape, const std::string& path) {
  switch (shape) {
    case Shape::openai:
      return openai_kind(path);
    case Shape::anthropic:
      if (path.ends_with("/messages")) return Kind::generation;
      return path.ends_with("/count_tokens") || path.ends_with("/files") || path.ends_with("/cancel") ? Kind::free
                                                                                                      : Kind::unknown;
    case Shape::gemini: {
      const auto [model, method] = gemini_target(path);
      if (method == "generateContent" || method == "streamGenerateContent") return Kind::generation;
      if (method == "embedContent" || method == "batchEmbedContents") return Kind::embedding;
      return method == "countTokens" || path.ends_with("/files") ? Kind::free : Kind::unknown;
    }
    default:
      return Kind::unknown;
  }
}

/// The numbers of one report of use. What it does not say in whole numbers it does not say.
class Report {
 public:
  explicit Report(const json& object) : object_(object) {}
  std::uint64_t count(const char* key) {
    const auto found = object_.find(key);
    if (found == object_.end() || found->is_null()) return 0;
    if (!found->is_number_unsigned()) {
      sound_ = false;
      return 0;
    }
    said_ = true;
    return std::min(found->get<std::uint64_t>(), kMostCount);
  }
  std::optional<ModelTokens> with(ModelTokens tokens) const {
    return sound_ && said_ ? std::optional(tokens) : std::nullopt;
  }

 private:
  const json& object_;
  bool sound_ = true;
  bool said_ = false;
};

const json* member(const json& value, const char* key) {
  if (!value.is_object()) return nullptr;
  const auto found = value.find(key);
  return found != value.end() && found->is_object() ? &*found : nullptr;
}

std::optional<ModelTokens> openai_usage(const json& message) {
  const auto* response = member(message, "response");
  const auto* usage = member(response != nullptr ? *response : message, "usage");
  if (usage == nullptr) return std::nullopt;
  Report report(*usage);
  const auto input = std::max(report.count("prompt_tokens"), report.count("input_tokens"));
  const auto output = std::max(report.count("completion_tokens"), report.count("output_tokens"));
  // Some services count reasoning only in the sum.
  const auto all = report.count("total_tokens");
  return report.with({input, std::max(output, all > input ? all - input : 0), 0});
}

std::optional<ModelTokens> anthropic_usage(const json& message) {
  const auto* inner = member(message, "message");
  const auto* usage = member(inner != nullptr ? *inner : message, "usage");
  if (usage == nullptr) return std::nullopt;
  Report report(*usage);
  const auto writes = report.count("cache_creation_input_tokens");
  const auto input = report.count("input_tokens") + report.count("cache_read_input_tokens") + writes;
  return report.with({input, report.count("output_tokens"), writes});
}

std::optional<ModelTokens> gemini_usage(const json& message) {
  const auto* usage = member(message, "usageMetadata");
  if (usage == nullptr) return std::nullopt;
  Report report(*usage);
  const auto input = report.count("promptTokenCount") + report.count("toolUsePromptTokenCount");
  const auto output = report.count("candidatesTokenCount") + report.count("thoughtsTokenCount");
  const auto all = report.count("totalTokenCount");
  return report.with({input, std::max(output, all > input ? all - input : 0), 0});
}

std::optional<ModelTokens> usage_in(Shape shape, const json& message) {
  switch (shape) {
    case Shape::openai:
      return openai_usage(message);
    case Shape::anthropic:
      return anthropic_usage(message);
    case Shape::gemini:
      return gemini_usage(message);
    default:
      return std::nullopt;
  }
}

}  // namespace

std::variant<NoModelCall, ModelCall, Unbounded> read_model_call(Shape shape, const std::string& method,
                                                                const std::string& path, const std::string* body) {
  if (shape == Shape::none) return NoModelCall{};
  if (method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "DELETE") return NoModelCall{};
  const Kind kind = kind_of(shape, path);
  if (kind == Kind::free) return NoModelCall{};
  if (kind == Kind::unknown) return Unbounded{"what requests like this use is not known"};
  if (body == nullptr) return Unbounded{"the body is too large to be read"};
  RequestWalker walker(limit_of(shape, path));
  if (!http::walk_json(*body, walker)) {
    return Unbounded{"the body cannot be read" + (walker.reason().empty() ? "" : ": " + walker.reason())};
  }
  if (!walker.problem.empty()) return Unbounded{"the request asks for " + walker.problem};
  if (walker.names_earlier_items()) return Unbounded{"the request asks for items of an earlier conversation"};
  ModelCall call{walker.model, {}};
  if (shape == Shape::gemini) call.model = gemini_target(path).first;
  if (const auto deployment = deployment_of(path); !deployment.empty()) call.model = deployment;
  if (call.model.empty()) return Unbounded{"the request names no model"};
  call.most.input = body->size() + kTokensBesides + walker.images * kTokensOfImage;
  if (walker.caches) call.most.cache_writes = call.most.input;
  if (kind == Kind::generation) {
    const auto answers = walker.multiplier * std::max<std::uint64_t>(walker.prompts, 1);
    call.most.output = (walker.output > 0 ? walker.output : kMostOutput) * answers;
  }
  return call;
}

std::uint64_t cost_of(const ModelTokens& tokens, const provider::Price& price) {
  const auto writes = std::min(tokens.cache_writes, tokens.input);
  const double cost = static_cast<double>(tokens.input) * price.input +
                      static_cast<double>(writes) * price.input * (kCacheWriteFactor - 1) +
                      static_cast<double>(tokens.output) * price.output;
  return static_cast<std::uint64_t>(std::ceil(std::min(cost, 1e15)));
}

void UsageReader::feed(ByteView bytes) {
  if (overflowed_) return;
  const std::size_t searched = pending_.size();
  pending_ += as_text(bytes);
  if (event_stream_) {
    std::size_t begin = 0;
    for (auto end = pending_.find('\n', searched); end != std::string::npos; end = pending_.find('\n', begin)) {
      read_line(std::string_view(pending_).substr(begin, end - begin));
      begin = end + 1;
    }
    pending_.erase(0, begin);
  }
  // What was read before stays known: of a stream it is a part of the truth, and replaced only by more of it.
  overflowed_ = pending_.size() + event_.size() > kMostPending;
}

void UsageReader::read_line(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.empty()) {
    read_message(event_);
    event_.clear();
  } else if (line.starts_with("data:")) {
    line.remove_prefix(5);
    if (line.starts_with(' ')) line.remove_prefix(1);
    event_ += (event_.empty() ? "" : "\n") + std::string(line);
  }
}

void UsageReader::read_message(std::string_view text) {
  if (text.find("\"usage") == std::string_view::npos) return;  // "usage", "usageMetadata"
  const auto message = json::parse(text.begin(), text.end(), nullptr, false);
  const json* first = message.is_array() && !message.empty() ? &message.back() : &message;
  const auto found = usage_in(shape_, *first);
  if (!found) return;
  if (!tokens_) tokens_ = ModelTokens();
  // What Anthropic's first event says is not yet what was used.
  final_ = final_ || shape_ != Shape::anthropic || !event_stream_ || member(*first, "message") == nullptr;
  // Streams say it in parts, each of which only grows.
  tokens_->input = std::max(tokens_->input, found->input);
  tokens_->output = std::max(tokens_->output, found->output);
  tokens_->cache_writes = std::max(tokens_->cache_writes, found->cache_writes);
}

std::optional<ModelTokens> UsageReader::finish() {
  if (overflowed_) return std::nullopt;
  if (event_stream_) {
    if (!pending_.empty()) read_line(pending_);
    read_line("");
  } else {
    read_message(pending_);
  }
  pending_.clear();
  return final_ ? tokens_ : std::nullopt;
}

}  // namespace agentvault::broker
