#include "broker/json_body.hpp"

#include <iterator>
#include <optional>
#include <vector>

#include "http/json_walker.hpp"

namespace agentvault::broker {
namespace {

using nlohmann::json;

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

/// Notes where the wanted text ends.
class Follower final : public http::JsonWalker {
 public:
  Follower(const json::json_pointer& wanted, const std::size_t& read) : read_(read) {
    for (auto rest = wanted; !rest.empty(); rest = rest.parent_pointer()) wanted_.insert(wanted_.begin(), rest.back());
  }

  /// Behind the closing quote, and what stands between the quotes.
  const std::optional<std::pair<std::size_t, std::string>>& found() const { return found_; }

 private:
  bool on_text(const std::string& text) override {
    if (levels().empty()) return refuse("it is no JSON object");
    if (at_wanted()) found_ = {read_, text};
    return true;
  }
  bool on_number(double) override { return other_value(); }
  bool on_flag(bool) override { return other_value(); }
  bool on_null() override { return other_value(); }
  bool on_container(bool is_object) override { return levels().empty() ? is_object || other_value() : other_value(); }

  bool at_wanted() const {
    if (levels().size() != wanted_.size()) return false;
    for (std::size_t i = 0; i < levels().size(); ++i) {
      if (levels()[i].name != wanted_[i]) return false;
    }
    return true;
  }

  bool other_value() {
    if (levels().empty()) return refuse("it is no JSON object");
    return at_wanted() ? refuse("something else than a text stands where the key goes") : true;
  }

  std::vector<std::string> wanted_;
  const std::size_t& read_;
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
