#include <cstring>

#include "base/encoding.hpp"
#include "broker/stages.hpp"

namespace agentvault::broker {
namespace {

using provider::Injection;

/// A head with one hole for the secret, so that it is copied once, from locked memory to locked memory.
struct HeadWithHole {
  std::string before;
  std::string behind;
};

SecretBytes basic_value(const Request& request) {
  const auto& inject = request.grant->binding.inject;
  const bool secret_is_user = inject.kind == Injection::Kind::basic_user;
  // The binding's own other side, else what the client gave; never its token.
  std::string other = inject.pattern;
  const std::string& given = secret_is_user ? request.basic_pass : request.basic_user;
  if (other.empty() && !given.starts_with(token::kPrefix)) other = given;
  SecretBytes pair;
  if (secret_is_user) {
    pair = request.grant->secret.clone();
    pair.append(as_bytes(":" + other));
  } else {
    pair = SecretBytes::copy_of(as_bytes(other + ":"));
    pair.append(request.grant->secret.reveal());
  }
  return base64_secret(pair.reveal());
}

/// What fills the hole.
SecretBytes secret_value(const Request& request) {
  switch (request.grant->binding.inject.kind) {
    case Injection::Kind::basic_user:
    case Injection::Kind::basic_pass:
      return basic_value(request);
    case Injection::Kind::query:
      return percent_encode_secret(request.grant->secret.reveal());
    default:
      return request.grant->secret.clone();
  }
}

HeadWithHole lay_out(const Request& request) {
  const auto& binding = request.grant->binding;
  const auto& inject = binding.inject;
  http::Fields fields = request.head.fields;
  http::remove_hop_by_hop(fields);
  for (const char* ours : {"host", "content-length", "expect", "accept-encoding"}) fields.remove(ours);

  HeadWithHole head;
  head.before = request.head.method + " " + request.target.text();
  if (inject.kind == Injection::Kind::query) {
    head.before += (request.target.has_query ? "&" : "?") + inject.name + "=";
    head.behind = " HTTP/1.1\r\n";
  } else {
    head.before += " HTTP/1.1\r\n";
  }
  std::string& rest = inject.kind == Injection::Kind::query ? head.behind : head.before;
  rest += "Host: " + binding.origin.authority() + "\r\n";
  // Scrubbing reads the answer: it must not be compressed.
  rest += "Accept-Encoding: identity\r\n";
  http::write_fields(fields, rest);
  const auto& framing = request.head.framing;
  if (framing.kind == http::Framing::Kind::chunked) rest += "Transfer-Encoding: chunked\r\n";
  if (framing.kind == http::Framing::Kind::length) rest += "Content-Length: " + std::to_string(framing.length) + "\r\n";

  switch (inject.kind) {
    case Injection::Kind::query:
      break;
    case Injection::Kind::bearer:
      head.before += "Authorization: Bearer ";
      break;
    case Injection::Kind::basic_user:
    case Injection::Kind::basic_pass:
      head.before += "Authorization: Basic ";
      break;
    case Injection::Kind::header: {
      const auto place = inject.pattern.find("{}");
      head.before += inject.name + ": " + inject.pattern.substr(0, place);
      head.behind += inject.pattern.substr(place + 2);
      break;
    }
  }
  head.behind += inject.kind == Injection::Kind::query ? "\r\n" : "\r\n\r\n";
  return head;
}

}  // namespace

SecretBytes inject(const Request& request) {
  const HeadWithHole head = lay_out(request);
  const SecretBytes value = secret_value(request);
  SecretBytes out(head.before.size() + value.size() + head.behind.size());
  auto* at = out.writable().data();
  std::memcpy(at, head.before.data(), head.before.size());
  std::memcpy(at + head.before.size(), value.reveal().data(), value.size());
  std::memcpy(at + head.before.size() + value.size(), head.behind.data(), head.behind.size());
  return out;
}

}  // namespace agentvault::broker
