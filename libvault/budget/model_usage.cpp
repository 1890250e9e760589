#include "budget/model_usage.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

namespace agentvault::budget {
namespace {

using nlohmann::json;
using provider::ModelTokens;
using Shape = provider::Metering::Shape;

constexpr std::uint64_t kMostCount = 1'000'000'000'000;
constexpr std::size_t kMostPending = std::size_t{4} << 20;

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
    said_.insert(key);
    return std::min(found->get<std::uint64_t>(), kMostCount);
  }
  /// Of each list one must have been said: whoever asks for a part of an answer does not settle by it.
  std::optional<ModelTokens> with(ModelTokens tokens, const std::vector<std::vector<std::string>>& needed) const {
    const bool whole = std::all_of(needed.begin(), needed.end(), [&](const auto& list) {
      return std::any_of(list.begin(), list.end(), [&](const auto& key) { return said_.contains(key); });
    });
    return sound_ && whole ? std::optional(tokens) : std::nullopt;
  }

 private:
  const json& object_;
  bool sound_ = true;
  std::set<std::string> said_;
};

/// Streams say it in parts, each of which only grows.
ModelTokens largest(const ModelTokens& a, const ModelTokens& b) {
  return {std::max(a.input, b.input), std::max(a.output, b.output), std::max(a.cache_writes, b.cache_writes),
          std::max(a.cache_reads, b.cache_reads)};
}

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
  auto cached = report.count("prompt_cache_hit_tokens");
  for (const char* details : {"prompt_tokens_details", "input_tokens_details"}) {
    if (const auto* found = member(*usage, details)) cached = std::max(cached, Report(*found).count("cached_tokens"));
  }
  return report.with({input, std::max(output, all > input ? all - input : 0), 0, cached},
                     {{"prompt_tokens", "input_tokens"}, {"completion_tokens", "output_tokens", "total_tokens"}});
}

/// One sampling, or the last of several.
std::optional<ModelTokens> anthropic_sampling(const json& usage) {
  Report report(usage);
  const auto writes = report.count("cache_creation_input_tokens");
  const auto reads = report.count("cache_read_input_tokens");
  const auto input = report.count("input_tokens") + reads + writes;
  return report.with({input, report.count("output_tokens"), writes, reads}, {{"output_tokens"}});
}

std::optional<ModelTokens> anthropic_usage(const json& message) {
  const auto* inner = member(message, "message");
  const auto* usage = member(inner != nullptr ? *inner : message, "usage");
  if (usage == nullptr) return std::nullopt;
  const auto last = anthropic_sampling(*usage);
  // Where the provider samples more than once (compaction), the members beside are the last one's only.
  const auto all = usage->find("iterations");
  if (!last || all == usage->end() || !all->is_array() || all->empty()) return last;
  ModelTokens sum;
  for (const auto& iteration : *all) {
    const auto one = iteration.is_object() ? anthropic_sampling(iteration) : std::nullopt;
    if (!one) return std::nullopt;
    sum = {sum.input + one->input, sum.output + one->output, sum.cache_writes + one->cache_writes,
           sum.cache_reads + one->cache_reads};
  }
  return largest(sum, *last);
}

std::optional<ModelTokens> gemini_usage(const json& message) {
  const auto* usage = member(message, "usageMetadata");
  if (usage == nullptr) return std::nullopt;
  Report report(*usage);
  const auto input = report.count("promptTokenCount") + report.count("toolUsePromptTokenCount");
  const auto output = report.count("candidatesTokenCount") + report.count("thoughtsTokenCount");
  const auto all = report.count("totalTokenCount");
  return report.with(
      {input, std::max(output, all > input ? all - input : 0), 0, report.count("cachedContentTokenCount")},
      {{"promptTokenCount"}, {"totalTokenCount"}});
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
  tokens_ = largest(*tokens_, *found);
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

}  // namespace agentvault::budget
