#include "base/text.hpp"
#include "broker/stages.hpp"

namespace agentvault::broker {
namespace {

bool is_own_authority(const std::string& host, const std::string& authority) {
  // Clients may write the loopback address either way.
  const auto port = authority.substr(authority.rfind(':'));
  return equal_ignoring_case(host, authority) || equal_ignoring_case(host, "localhost" + port);
}

std::optional<Refusal> refuse_other_forms(const http::RequestHead& head) {
  if (head.method == "CONNECT" || head.target.front() != '/') {
    return Refusal{400, "proxy_not_supported", "this broker is no proxy in this version",
                   "use the base URL in AGENTVAULT_URL, followed by the credential's name"};
  }
  if (head.fields.lists("upgrade", "websocket")) {
    return Refusal{501, "upgrade_not_supported", "WebSocket is not in this version", "use plain HTTP requests"};
  }
  const auto* expect = head.fields.find("expect");
  if (expect != nullptr && !equal_ignoring_case(*expect, "100-continue")) {
    return Refusal{417, "expectation", "only Expect: 100-continue is known", "leave the Expect header out"};
  }
  return std::nullopt;
}

}  // namespace

std::optional<Refusal> route(SessionState& session, const std::string& authority, Request& request) {
  if (auto refusal = refuse_other_forms(request.head)) return refusal;
  const auto* host = request.head.fields.find("host");
  if (host != nullptr && !is_own_authority(*host, authority)) {
    return Refusal{421, "misdirected", "the Host header names another server", "send requests to " + authority};
  }
  auto parsed = http::parse_target(request.head.target);
  if (const auto* bad = std::get_if<http::BadTarget>(&parsed)) {
    return Refusal{400, "bad_target", "the request target is refused: " + bad->reason,
                   "send the path in its plain, normal form"};
  }
  request.target = std::move(std::get<http::Target>(parsed));
  const auto end = request.target.path.find('/', 1);
  const auto name = request.target.path.substr(1, end == std::string::npos ? end : end - 1);
  request.grant = session.find(name);
  if (request.grant == nullptr) {
    return Refusal{404, "no_such_credential", "this session has no credential \"" + printable(name, 64) + "\"",
                   "the path starts with the name of a granted credential"};
  }
  request.target.path = end == std::string::npos ? "/" : request.target.path.substr(end);
  return std::nullopt;
}

}  // namespace agentvault::broker
