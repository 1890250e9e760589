#include "broker/json_body.hpp"

#include <nlohmann/json.hpp>
#include <set>

#include "base/crypto.hpp"
#include "base/encoding.hpp"

namespace agentvault::broker {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 64;

struct Refused {
  std::string reason;
};

/// Two servers may take either of two equal keys.
class StrictReader {
 public:
  bool operator()(int depth, json::parse_event_t event, json& value) {
    if (depth > kMaxDepth) throw Refused{"it is nested too deeply"};
    if (event == json::parse_event_t::object_start) keys_.emplace_back();
    if (event == json::parse_event_t::object_end) keys_.pop_back();
    if (event == json::parse_event_t::key && !keys_.back().insert(value.get<std::string>()).second) {
      throw Refused{"a key stands there twice"};
    }
    return true;
  }

 private:
  std::vector<std::set<std::string>> keys_;
};

json parse_strictly(const std::string& body) {
  StrictReader reader;
  json document = json::parse(body, std::ref(reader), false);
  if (!document.is_object()) throw Refused{"it is no JSON object"};
  return document;
}

json& text_at(json& document, const std::string& pointer) {
  try {
    const json::json_pointer place(pointer);
    const json& parent = document.at(place.parent_pointer());
    if (!parent.is_object()) throw Refused{"there is no object for the key"};
    json& value = document[place];
    if (value.is_null()) value = "";
    if (!value.is_string()) throw Refused{"something else than a text stands where the key goes"};
    return value;
  } catch (const json::exception&) {
    throw Refused{"there is no such place in it"};
  }
}

}  // namespace

std::variant<BadJson, CutText> cut_text_out(const std::string& body, const std::string& pointer) {
  try {
    json document = parse_strictly(body);
    json& place = text_at(document, pointer);
    CutText cut;
    cut.value = place.get<std::string>();
    // A mark that nobody can guess shows where the text stands in the document as it is written.
    const std::string mark = hex(random_bytes(32));
    place = mark;
    const std::string written = document.dump();
    const auto at = written.find(mark);
    cut.before = written.substr(0, at);
    cut.behind = written.substr(at + mark.size());
    return cut;
  } catch (const Refused& refused) {
    return BadJson{refused.reason};
  } catch (const json::exception&) {
    return BadJson{"it is not UTF-8"};
  }
}

}  // namespace agentvault::broker
