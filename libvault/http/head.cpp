#include "http/head.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace agentvault::http {
namespace {

constexpr std::size_t kMaxName = 256;
constexpr std::size_t kMaxMethod = 32;
constexpr std::uint64_t kMaxLength = std::uint64_t{1} << 53;

/// A CR without LF or an LF without CR. A CR at the very end may still get its LF.
bool has_bare_line_end(std::string_view text) {
  for (auto at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at + 1)) {
    if (at == 0 || text[at - 1] != '\r') return true;
  }
  for (auto at = text.find('\r'); at != std::string_view::npos; at = text.find('\r', at + 1)) {
    if (at + 1 < text.size() && text[at + 1] != '\n') return true;
  }
  return false;
}

/// The part before the empty line, each line with its CRLF; or why there is none.
std::variant<Incomplete, Malformed, std::string_view> cut_head(std::string_view input) {
  const auto end = input.substr(0, kMaxHead).find("\r\n\r\n");
  const auto seen = input.substr(0, end == std::string_view::npos ? kMaxHead : end + 4);
  if (has_bare_line_end(seen)) return Malformed{400, "a line does not end with CRLF"};
  if (seen.find('\0') != std::string_view::npos) return Malformed{400, "a NUL byte in the head"};
  if (end != std::string_view::npos) return input.substr(0, end + 2);
  if (input.size() >= kMaxHead) return Malformed{431, "the head is larger than 64 KiB"};
  return Incomplete{};
}

constexpr const char* kFraming[]{"content-length", "transfer-encoding"};

std::string_view take_line(std::string_view& text) {
  const auto end = text.find("\r\n");
  const auto line = text.substr(0, end);
  text.remove_prefix(end + 2);
  return line;
}

/// A single field with digits only, else nothing.
std::optional<std::uint64_t> content_length(const Fields& fields) {
  if (fields.count("content-length") != 1) return std::nullopt;
  const auto value = parse_unsigned(*fields.find("content-length"));
  return value && *value <= kMaxLength ? value : std::nullopt;
}

bool exactly_chunked(const Fields& fields) {
  return fields.count("transfer-encoding") == 1 && equal_ignoring_case(*fields.find("transfer-encoding"), "chunked");
}

/// Programs behind a gateway would read it as framing.
bool is_framing_in_disguise(const Field& field) {
  return std::any_of(std::begin(kFraming), std::end(kFraming), [&](const char* name) {
    return same_field_name(field.name, name) && !equal_ignoring_case(field.name, name);
  });
}

std::optional<Malformed> judge_framing(RequestHead& head) {
  const auto& all = head.fields.list();
  if (std::any_of(all.begin(), all.end(), is_framing_in_disguise))
    return Malformed{400, "a field that some servers read as framing"};
  const bool has_length = head.fields.has("content-length");
  if (head.fields.has("transfer-encoding")) {
    if (has_length) return Malformed{400, "both Content-Length and Transfer-Encoding"};
    if (head.minor_version == 0) return Malformed{400, "Transfer-Encoding in HTTP/1.0"};
    if (!exactly_chunked(head.fields)) return Malformed{501, "a transfer coding other than chunked"};
    head.framing = {Framing::Kind::chunked, 0};
  } else if (has_length) {
    const auto length = content_length(head.fields);
    if (!length) return Malformed{400, "a bad Content-Length"};
    head.framing = {Framing::Kind::length, *length};
  }
  return std::nullopt;
}

std::optional<Malformed> parse_request_line(std::string_view line, RequestHead& head) {
  const auto first = line.find(' ');
  const auto last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return Malformed{400, "not a request line"};
  const auto version = line.substr(last + 1);
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    const bool other = version.substr(0, 5) == "HTTP/";
    return Malformed{other ? 505 : 400, other ? "a version other than HTTP/1.1" : "not a request line"};
  }
  head.minor_version = version.back() - '0';
  head.method = line.substr(0, first);
  head.target = line.substr(first + 1, last - first - 1);
  if (head.method.size() > kMaxMethod || !is_token(head.method)) return Malformed{400, "a bad method"};
  if (head.target.size() > kMaxTarget) return Malformed{414, "the target is longer than 16 KiB"};
  const bool visible = std::all_of(head.target.begin(), head.target.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (head.target.empty() || !visible) return Malformed{400, "a bad target"};
  return std::nullopt;
}

bool keeps_alive(const Fields& fields, int minor_version) {
  if (fields.lists("connection", "close")) return false;
  return minor_version == 1 || fields.lists("connection", "keep-alive");
}

}  // namespace

bool RequestHead::keep_alive() const {
  // HTTP/1.0 asks for it with a field that the answer would have to repeat: not worth a second way.
  return minor_version == 1 && keeps_alive(fields, minor_version);
}
bool ResponseHead::keep_alive() const {
  return keeps_alive(fields, minor_version);
}

std::optional<Fields> parse_field_lines(std::string_view text) {
  Fields fields;
  while (!text.empty()) {
    if (text.find("\r\n") == std::string_view::npos) return std::nullopt;
    const auto line = take_line(text);
    const auto colon = line.find(':');
    if (colon == std::string_view::npos || colon > kMaxName) return std::nullopt;
    // A name that starts with white space would be a folded line, one that ends with it is read in two ways.
    const auto name = line.substr(0, colon);
    const auto value = trim(line.substr(colon + 1));
    if (!is_token(name) || !is_field_value(value)) return std::nullopt;
    if (fields.list().size() == kMaxFields) return std::nullopt;
    fields.add(std::string(name), std::string(value));
  }
  return fields;
}

ParseResult<RequestHead> parse_request_head(std::string_view input) {
  // One empty line before a request is ignored (RFC 9112, section 2.2).
  const std::size_t skipped = input.substr(0, 2) == "\r\n" ? 2 : 0;
  const auto cut = cut_head(input.substr(skipped));
  if (std::holds_alternative<Incomplete>(cut)) return Incomplete{};
  if (const auto* bad = std::get_if<Malformed>(&cut)) return *bad;
  std::string_view rest = std::get<std::string_view>(cut);
  const std::size_t size = skipped + rest.size() + 2;

  RequestHead head;
  if (auto bad = parse_request_line(take_line(rest), head)) return *bad;
  auto fields = parse_field_lines(rest);
  if (!fields) return Malformed{400, "a bad header field"};
  head.fields = std::move(*fields);
  if (auto bad = judge_framing(head)) return *bad;
  const auto hosts = head.fields.count("host");
  if (hosts > 1 || (hosts == 0 && head.minor_version == 1)) return Malformed{400, "not exactly one Host"};
  return Parsed<RequestHead>{std::move(head), size};
}

ParseResult<ResponseHead> parse_response_head(std::string_view input) {
  const auto cut = cut_head(input);
  if (std::holds_alternative<Incomplete>(cut)) return Incomplete{};
  if (const auto* bad = std::get_if<Malformed>(&cut)) return *bad;
  std::string_view rest = std::get<std::string_view>(cut);
  const std::size_t size = rest.size() + 2;

  ResponseHead head;
  const auto line = take_line(rest);
  const bool version = line.substr(0, 9) == "HTTP/1.1 " || line.substr(0, 9) == "HTTP/1.0 ";
  const auto status = version && line.size() >= 12 ? parse_unsigned(line.substr(9, 3)) : std::nullopt;
  if (!status || *status < 100 || *status > 599 || (line.size() > 12 && line[12] != ' ') || !is_field_value(line)) {
    return Malformed{502, "not a status line"};
  }
  head.minor_version = line[7] - '0';
  head.status = static_cast<int>(*status);
  auto fields = parse_field_lines(rest);
  if (!fields) return Malformed{502, "a bad header field"};
  head.fields = std::move(*fields);
  return Parsed<ResponseHead>{std::move(head), size};
}

std::optional<Framing> response_framing(const ResponseHead& head, std::string_view request_method) {
  const bool has_length = head.fields.has("content-length");
  const bool has_coding = head.fields.has("transfer-encoding");
  if (has_coding && (has_length || head.minor_version == 0 || !exactly_chunked(head.fields))) return std::nullopt;
  const auto length = content_length(head.fields);
  if (has_length && !length) return std::nullopt;
  if (request_method == "HEAD" || head.status < 200 || head.status == 204 || head.status == 304) return Framing{};
  if (has_coding) return Framing{Framing::Kind::chunked, 0};
  if (has_length) return Framing{Framing::Kind::length, *length};
  return Framing{Framing::Kind::until_end, 0};
}

}  // namespace agentvault::http
