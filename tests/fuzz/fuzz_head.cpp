// The head parser: whatever it accepts is unambiguous, and parses to the same when it is written again.
#include <cstdlib>

#include "http/head.hpp"
#include "http/target.hpp"
#include "net/origin.hpp"

using namespace agentvault;
using namespace agentvault::http;

namespace {

void demand(bool holds) {
  if (!holds) std::abort();
}

void check_request(std::string_view input) {
  const auto result = parse_request_head(input);
  const auto* parsed = std::get_if<Parsed<RequestHead>>(&result);
  if (parsed == nullptr) return;
  const auto& head = parsed->head;
  demand(parsed->size <= input.size());
  demand(input.substr(parsed->size - 4, 4) == "\r\n\r\n");
  demand(is_token(head.method) && !head.target.empty());
  demand(!(head.fields.has("content-length") && head.fields.has("transfer-encoding")));
  demand(head.fields.count("content-length") <= 1 && head.fields.count("host") <= 1);
  for (const auto& field : head.fields.list()) demand(is_token(field.name) && is_field_value(field.value));

  std::string again = head.method + " " + head.target + " HTTP/1." + std::to_string(head.minor_version) + "\r\n";
  write_fields(head.fields, again);
  again += "\r\n";
  if (again.size() > kMaxHead) return;
  const auto twice = parse_request_head(again);
  const auto* same = std::get_if<Parsed<RequestHead>>(&twice);
  demand(same != nullptr && same->size == again.size());
  demand(same->head.framing.kind == head.framing.kind && same->head.framing.length == head.framing.length);

  const auto target = parse_target(head.target);
  if (const auto* normal = std::get_if<Target>(&target)) {
    const auto next = parse_target(normal->text());
    demand(std::get<Target>(next).text() == normal->text());  // one normal form
  }
  const auto opaque = parse_target(head.target, true);
  demand(std::holds_alternative<Target>(opaque) || std::holds_alternative<BadTarget>(target));  // allows only more
  if (const auto authority = net::parse_authority(head.target)) {
    const auto text = net::bracketed(authority->host) + (authority->port ? ":" + std::to_string(*authority->port) : "");
    const auto same_again = net::parse_authority(text);
    demand(same_again && same_again->host == authority->host && same_again->port == authority->port);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  check_request(input);
  const auto result = parse_response_head(input);
  if (const auto* parsed = std::get_if<Parsed<ResponseHead>>(&result)) {
    demand(parsed->head.status >= 100 && parsed->head.status <= 599);
    for (const char* method : {"GET", "HEAD"}) (void)response_framing(parsed->head, method);
  }
  return 0;
}
