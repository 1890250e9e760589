#include "broker/refusal.hpp"

#include "base/text.hpp"

namespace agentvault::broker {
namespace {

/// Texts of ours and printable() ones: only quotes and backslashes need escaping.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  return out + "\"";
}

}  // namespace

Refusal token_expired() {
  return {401, "token_expired", "the token has expired", "start a new session with \"agentvault exec\""};
}

const char* reason_phrase(int status) {
  switch (status) {
    case 100:
      return "Continue";
    case 101:
      return "Switching Protocols";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 407:
      return "Proxy Authentication Required";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 417:
      return "Expectation Failed";
    case 421:
      return "Misdirected Request";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Status";
  }
}

std::string write_refusal(const Refusal& refusal, bool keep_alive, bool with_body) {
  const char* kind = refusal.status < 400 ? "done" : "error";
  std::string body = "{\"" + std::string(kind) + "\":{\"code\":" + quoted(refusal.code) +
                     ",\"message\":" + quoted(refusal.message) + ",\"hint\":" + quoted(refusal.hint) + "}}\n";
  std::string out = "HTTP/1.1 " + std::to_string(refusal.status) + " " + reason_phrase(refusal.status) + "\r\n";
  out += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  if (refusal.status == 401) out += "WWW-Authenticate: Bearer realm=\"agentvault\", Basic realm=\"agentvault\"\r\n";
  if (refusal.status == 407) out += "Proxy-Authenticate: Basic realm=\"agentvault\"\r\n";
  if (refusal.retry_after > 0) out += "Retry-After: " + std::to_string(refusal.retry_after) + "\r\n";
  if (!keep_alive) out += "Connection: close\r\n";
  out += "\r\n";
  return with_body ? out + body : out;
}

}  // namespace agentvault::broker
