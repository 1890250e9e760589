#include "http/json_walker.hpp"

#include "base/text.hpp"

namespace agentvault::http {
namespace {

constexpr std::string_view kLongS = "\xc5\xbf";       // U+017F folds to s
constexpr std::string_view kKelvin = "\xe2\x84\xaa";  // U+212A folds to k
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

}  // namespace

std::string folded_key(std::string_view key) {
  // For some readers it ends there.
  key = key.substr(0, key.find('\0'));
  std::string out;
  out.reserve(key.size());
  for (std::size_t at = 0; at < key.size();) {
    const auto rest = key.substr(at);
    if (rest.starts_with(kLongS)) {
      out.push_back('s');
      at += kLongS.size();
    } else if (rest.starts_with(kKelvin)) {
      out.push_back('k');
      at += kKelvin.size();
    } else {
      out.push_back(to_lower(key[at++]));
    }
  }
  return out;
}

bool JsonWalker::key(Json::string_t& name) {
  auto& level = levels_.back();
  level.name = name;
  level.folded = folded_key(name);
  if (!level.keys.insert(level.folded).second) return refuse("a key stands there twice");
  if (level.keys.size() > kMostKeys) return refuse("an object has too many members");
  return true;
}

/// The next element of an array is named by its number.
bool JsonWalker::value() {
  if (!levels_.empty() && !levels_.back().is_object) {
    levels_.back().name = std::to_string(levels_.back().count++);
    levels_.back().folded = levels_.back().name;
  }
  return true;
}

bool JsonWalker::open(bool is_object) {
  value();
  if (!on_container(is_object)) return false;
  if (levels_.size() == kMaxDepth) return refuse("it is nested too deeply");
  levels_.push_back({is_object, {}, "", "", 0});
  return true;
}

bool walk_json(std::string_view text, JsonWalker& walker) {
  // The parser would end at the one, and skip the other.
  if (text.find('\0') != std::string_view::npos || text.starts_with(kByteOrderMark)) return false;
  return nlohmann::json::sax_parse(text.begin(), text.end(), &walker);
}

}  // namespace agentvault::http
