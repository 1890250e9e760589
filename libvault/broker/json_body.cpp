#include "broker/json_body.hpp"

#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <vector>

namespace agentvault::broker {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxDepth = 64;

/// Reads a text byte by byte and tells how far the parser has come.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, std::size_t* count) : at_(at), count_(count) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    ++at_;
    ++*count_;
    return *this;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  std::size_t* count_;
};

/// Follows the document: refuses what two servers could read differently, and notes where the wanted text ends.
class Follower final : public json::json_sax_t {
 public:
  Follower(const json::json_pointer& wanted, const std::size_t& read) : read_(read) {
    for (auto rest = wanted; !rest.empty(); rest = rest.parent_pointer()) wanted_.insert(wanted_.begin(), rest.back());
  }

  const std::string& reason() const { return reason_; }
  /// Behind the closing quote, and what stands between the quotes.
  const std::optional<std::pair<std::size_t, std::string>>& found() const { return found_; }

  bool null() override { return other_value(); }
  bool boolean(bool) override { return other_value(); }
  bool number_integer(number_integer_t) override { return other_value(); }
  bool number_unsigned(number_unsigned_t) override { return other_value(); }
  bool number_float(number_float_t, const string_t&) override { return other_value(); }
  bool binary(binary_t&) override { return other_value(); }
  bool string(string_t& value) override {
    if (levels_.empty()) return refuse("it is no JSON object");
    begin_value();
    if (at_wanted()) found_ = {read_, value};
    return true;
  }

  bool start_object(std::size_t) override { return open(true); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return levels_.empty() ? refuse("it is no JSON object") : open(false); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    auto& level = levels_.back();
    if (!level.keys.insert(name).second) return refuse("a key stands there twice");
    level.name = name;
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    return refuse("it is no JSON");
  }

 private:
  struct Level {
    bool is_object;
    std::set<std::string> keys;
    std::string name;       // of the current member
    std::size_t count = 0;  // of an array's elements so far
  };

  bool refuse(const char* reason) {
    if (reason_.empty()) reason_ = reason;
    return false;
  }

  /// The next element of an array is named by its number.
  void begin_value() {
    if (!levels_.empty() && !levels_.back().is_object) levels_.back().name = std::to_string(levels_.back().count++);
  }

  bool at_wanted() const {
    if (levels_.size() != wanted_.size()) return false;
    for (std::size_t i = 0; i < levels_.size(); ++i) {
      if (levels_[i].name != wanted_[i]) return false;
    }
    return true;
  }

  bool other_value() {
    if (levels_.empty()) return refuse("it is no JSON object");
    begin_value();
    return at_wanted() ? refuse("something else than a text stands where the key goes") : true;
  }

  bool open(bool is_object) {
    begin_value();
    if (!levels_.empty() && at_wanted()) return refuse("something else than a text stands where the key goes");
    if (levels_.size() == kMaxDepth) return refuse("it is nested too deeply");
    levels_.push_back({is_object, {}, "", 0});
    return true;
  }

  bool close() {
    levels_.pop_back();
    return true;
  }

  std::vector<std::string> wanted_;
  const std::size_t& read_;
  std::vector<Level> levels_;
  std::string reason_;
  std::optional<std::pair<std::size_t, std::string>> found_;
};

/// Where a text begins that ends before `closing`: at the last quote that no backslash escapes.
std::size_t opening_quote(const std::string& body, std::size_t closing) {
  for (auto quote = body.rfind('"', closing - 1);; quote = body.rfind('"', quote - 1)) {
    std::size_t backslashes = 0;
    while (backslashes < quote && body[quote - 1 - backslashes] == '\\') ++backslashes;
    if (backslashes % 2 == 0) return quote;
  }
}

}  // namespace

std::variant<BadJson, CutText> cut_text_out(const std::string& body, const std::string& pointer) {
  if (body.find('\0') != std::string::npos) return BadJson{"it is no JSON"};  // the parser would end there
  std::size_t read = 0;
  Follower follower(json::json_pointer(pointer), read);
  const CountingIterator begin(body.data(), &read);
  const CountingIterator end(body.data() + body.size(), &read);
  if (!json::sax_parse(begin, end, &follower)) return BadJson{follower.reason()};
  if (!follower.found()) return BadJson{"there is no such place in it"};
  const auto& [behind, value] = *follower.found();
  const std::size_t closing = behind - 1;
  return CutText{value, body.substr(0, opening_quote(body, closing) + 1), body.substr(closing)};
}

}  // namespace agentvault::broker
