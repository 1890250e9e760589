#include <algorithm>

#include "base/text.hpp"
#include "broker/stages.hpp"

namespace agentvault::broker {
namespace {

constexpr std::uint16_t kClearPort = 80;

bool is_own_authority(const std::string& host, const std::string& authority) {
  // Clients may write the loopback address either way.
  const auto port = authority.substr(authority.rfind(':'));
  return equal_ignoring_case(host, authority) || equal_ignoring_case(host, "localhost" + port);
}

std::optional<Refusal> judge_form(Request& request) {
  const auto& fields = request.head.fields;
  if (fields.lists("upgrade", "websocket")) {
    // RFC 6455 section 4.1. Every other upgrade is one of this connection only, and dropped.
    if (request.head.method != "GET" || request.has_body() || !fields.lists("connection", "upgrade") ||
        fields.count("sec-websocket-key") != 1) {
      return Refusal{400, "bad_websocket", "this is no WebSocket handshake",
                     "send GET, Connection and Sec-WebSocket-Key"};
    }
    request.websocket = true;
  }
  const auto* expect = fields.find("expect");
  if (expect != nullptr && !equal_ignoring_case(*expect, "100-continue")) {
    return Refusal{417, "expectation", "only Expect: 100-continue is known", "leave the Expect header out"};
  }
  return std::nullopt;
}

/// "https://host:port/path?query" in its parts; nothing for a target that names no http URL.
struct AbsoluteTarget {
  bool tls = false;
  std::optional<net::Authority> authority;  // nullopt: there is none that can be read
  std::string path;                         // with the query; starts with '/'
};
std::optional<AbsoluteTarget> split_absolute(std::string_view text) {
  const auto end_of_scheme = text.find("://");
  if (end_of_scheme == std::string_view::npos) return std::nullopt;
  const auto scheme = text.substr(0, end_of_scheme);
  AbsoluteTarget target;
  target.tls = equal_ignoring_case(scheme, "https");
  if (!target.tls && !equal_ignoring_case(scheme, "http")) return std::nullopt;
  text.remove_prefix(scheme.size() + 3);
  const auto path = text.substr(std::min(text.find_first_of("/?"), text.size()));
  target.authority = net::parse_authority(text.substr(0, text.size() - path.size()));
  target.path = (path.starts_with('/') ? "" : "/") + std::string(path);
  return target;
}

std::uint16_t port_of(const AbsoluteTarget& target) {
  return target.authority->port.value_or(target.tls ? net::Origin::kDefaultPort : kClearPort);
}

std::optional<Refusal> take_target(const std::string& text, bool opaque_slashes, Request& request) {
  auto parsed = http::parse_target(text, opaque_slashes);
  if (const auto* bad = std::get_if<http::BadTarget>(&parsed)) {
    return Refusal{400, "bad_target", "the request target is refused: " + bad->reason,
                   "send the path in its plain, normal form"};
  }
  request.target = std::move(std::get<http::Target>(parsed));
  return std::nullopt;
}

bool any_opaque_slashes(const std::vector<Grant*>& grants) {
  for (const auto* grant : grants) {
    if (grant->binding.opaque_slashes) return true;
  }
  return false;
}

/// Without a credential only the host is judged: the path is the business of agent and upstream.
void take_as_sent(std::string_view text, Request& request) {
  const auto mark = text.find('?');
  request.target.path = text.substr(0, mark);
  request.target.has_query = mark != std::string_view::npos;
  if (request.target.has_query) request.target.query = text.substr(mark + 1);
}

bool host_field_names(const http::Fields& fields, const net::Endpoint& endpoint) {
  const auto* host = fields.find("host");
  if (host == nullptr) return true;
  const auto named = net::parse_authority(*host);
  return named && named->host == endpoint.host && named->port.value_or(endpoint.tls ? 443 : 80) == endpoint.port;
}

Refusal misdirected(const net::Endpoint& endpoint) {
  return {421, "misdirected", "the request names another host than the connection",
          "send requests for " + endpoint.authority() + " only"};
}

}  // namespace

std::vector<Grant*> grants_for(SessionState& session, const std::string& host, std::uint16_t port) {
  std::vector<Grant*> found;
  for (auto& grant : session.grants()) {
    if (grant.binding.origin.host == host && grant.binding.origin.port == port) found.push_back(&grant);
  }
  return found;
}

std::optional<Refusal> route_base_url(SessionState& session, const std::string& authority, Request& request) {
  if (auto refusal = judge_form(request)) return refusal;
  const auto* host = request.head.fields.find("host");
  if (host != nullptr && !is_own_authority(*host, authority)) {
    return Refusal{421, "misdirected", "the Host header names another server", "send requests to " + authority};
  }
  const std::string_view text = request.head.target;
  const auto end = text.find_first_of("/?", 1);
  const std::string name(text.substr(1, end == std::string::npos ? end : end - 1));
  Grant* grant = session.find(name);
  if (grant == nullptr) {
    return Refusal{404, "no_such_credential", "this session has no credential \"" + printable(name, 64) + "\"",
                   "the path starts with the name of a granted credential"};
  }
  std::string rest(end == std::string_view::npos ? std::string_view() : text.substr(end));
  if (!rest.starts_with('/')) rest.insert(0, 1, '/');
  if (auto refusal = take_target(rest, grant->binding.opaque_slashes, request)) return refusal;
  request.by_base_url = true;
  request.candidates = {grant};
  request.upstream = net::Endpoint::of(grant->binding.origin, grant->binding.ca_pem);
  return std::nullopt;
}

std::optional<Refusal> route_proxied(SessionState& session, Request& request) {
  if (auto refusal = judge_form(request)) return refusal;
  const auto named = split_absolute(request.head.target);
  if (!named) {
    return Refusal{400, "bad_target", "the request target is no path and no http URL",
                   "send a path, or an absolute URL"};
  }
  if (!named->authority) {
    return Refusal{400, "bad_target", "the URL names no host", "write it as http://host[:port]/path"};
  }
  const auto& host = named->authority->host;
  const std::uint16_t port = port_of(*named);
  const auto& text = named->path;
  request.upstream = {host, port, named->tls, "", false};
  if (!host_field_names(request.head.fields, request.upstream)) return misdirected(request.upstream);
  if (named->tls) request.candidates = grants_for(session, host, port);
  if (request.candidates.empty()) {
    if (text.find('#') != std::string::npos) {
      return Refusal{400, "bad_target", "a fragment in the request target", "send the URL without it"};
    }
    take_as_sent(text, request);
    return std::nullopt;
  }
  request.upstream = net::Endpoint::of(request.candidates.front()->binding.origin, "");
  return take_target(text, any_opaque_slashes(request.candidates), request);
}

std::optional<Refusal> route_intercepted(SessionState& session, const Interception& interception, Request& request) {
  if (auto refusal = judge_form(request)) return refusal;
  if (request.head.method == "CONNECT") {
    return Refusal{400, "bad_target", "CONNECT inside a tunnel", "ask the proxy itself for another tunnel"};
  }
  const auto& server_name = interception.server_name;
  request.upstream = {interception.host, interception.port, true, "", false};
  if (!server_name.empty() && !equal_ignoring_case(server_name, interception.host))
    return misdirected(request.upstream);
  if (!host_field_names(request.head.fields, request.upstream)) return misdirected(request.upstream);
  request.candidates = grants_for(session, interception.host, interception.port);
  if (request.candidates.empty()) return misdirected(request.upstream);
  request.upstream = net::Endpoint::of(request.candidates.front()->binding.origin, "");
  if (request.head.method == "OPTIONS" && request.head.target == "*") {
    request.target = {"/", "", false, true};
    return std::nullopt;
  }
  std::string target = request.head.target;
  if (const auto absolute = split_absolute(target); absolute && !target.starts_with('/')) {
    const auto& named = absolute->authority;
    if (!named || !absolute->tls || named->host != interception.host || port_of(*absolute) != interception.port) {
      return misdirected(request.upstream);
    }
    target = absolute->path;
  }
  return take_target(target, any_opaque_slashes(request.candidates), request);
}

std::optional<Refusal> route_connect(Request& request) {
  const auto named = net::parse_authority(request.head.target);
  if (!named || !named->port) {
    return Refusal{400, "bad_target", "CONNECT names no host and port", "write it as host:port"};
  }
  if (request.has_body()) {
    return Refusal{400, "malformed_request", "CONNECT with a body", "send it without one"};
  }
  request.upstream = {named->host, *named->port, false, "", false};
  const auto* host = request.head.fields.find("host");
  const auto field = host != nullptr ? net::parse_authority(*host) : named;
  // Some clients leave the port out there.
  if (!field || field->host != named->host || field->port.value_or(*named->port) != *named->port) {
    return misdirected(request.upstream);
  }
  request.target.path = request.upstream.authority();  // for the log
  return std::nullopt;
}

}  // namespace agentvault::broker
