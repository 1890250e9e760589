// Walks through a JSON text (RFC 8259) without keeping it, and refuses what two readers could understand differently: a
// key that stands in one object twice, also in another case (some readers fold it), NUL, a byte order mark, too many
// levels.
#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace agentvault::http {

/// A key as readers see it that do not look at case: ASCII, and the two signs beyond it that fold to ASCII.
std::string folded_key(std::string_view key);

class JsonWalker : public nlohmann::json::json_sax_t {
  using Json = nlohmann::json;

 public:
  /// Of the first thing that was refused.
  const std::string& reason() const { return reason_; }

  bool null() final { return value() && on_null(); }
  bool boolean(bool flag) final { return value() && on_flag(flag); }
  bool number_integer(Json::number_integer_t number) final { return value() && on_number(static_cast<double>(number)); }
  bool number_unsigned(Json::number_unsigned_t number) final {
    return value() && on_number(static_cast<double>(number));
  }
  bool number_float(Json::number_float_t number, const Json::string_t&) final { return value() && on_number(number); }
  bool binary(Json::binary_t&) final { return refuse("it is no JSON"); }
  bool string(Json::string_t& text) final { return value() && on_text(text); }
  bool start_object(std::size_t) final { return open(true); }
  bool end_object() final { return close(); }
  bool start_array(std::size_t) final { return open(false); }
  bool end_array() final { return close(); }
  bool key(Json::string_t& name) final;
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) final {
    return refuse("it is no JSON");
  }

 protected:
  /// Where the walk stands: the names of the members, and the numbers of the elements, that lead here.
  struct Level {
    bool is_object;
    std::set<std::string> keys;  // folded
    std::string name;            // of the current member
    std::string folded;          // the same, folded
    std::size_t count = 0;       // of an array's elements so far
  };
  const std::vector<Level>& levels() const { return levels_; }
  bool refuse(const char* reason) {
    if (reason_.empty()) reason_ = reason;
    return false;
  }

  /// False ends the walk.
  virtual bool on_text(const std::string&) { return true; }
  virtual bool on_number(double) { return true; }
  virtual bool on_flag(bool) { return true; }
  virtual bool on_null() { return true; }
  /// An object or an array begins; it is not among levels() yet.
  virtual bool on_container(bool /*is_object*/) { return true; }
  /// It ends; it is still among levels().
  virtual void on_close() {}

 private:
  static constexpr std::size_t kMaxDepth = 64;
  static constexpr std::size_t kMostKeys = 65'536;  // of one object: all are remembered
  bool value();
  bool open(bool is_object);
  bool close() {
    on_close();
    levels_.pop_back();
    return true;
  }

  std::vector<Level> levels_;
  std::string reason_;
};

/// Whether the whole text is one JSON value that the walker went through.
bool walk_json(std::string_view text, JsonWalker& walker);

}  // namespace agentvault::http
