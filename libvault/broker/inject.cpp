#include <cstring>

#include "base/encoding.hpp"
#include "broker/stages.hpp"
#include "broker/taken_tokens.hpp"

namespace agentvault::broker {
namespace {

using provider::Place;

/// What may stand unescaped in a path segment beside unreserved characters, and in keys (RFC 3986, pchar).
constexpr std::string_view kPlainInPath = ":@$&+=,!*'()";

/// The request's bytes with one hole for the secret, so that it is copied once, from locked memory to locked memory.
struct WithHole {
  std::string before;
  std::string behind;
};

SecretBytes basic_value(const Request& request) {
  const auto& inject = request.grant->binding.inject;
  // The binding's own other side, else what the client gave; never its token.
  std::string other = inject.other_side;
  const std::string& given = inject.secret_is_user ? request.basic_pass : request.basic_user;
  if (other.empty() && !given.starts_with(token::kPrefix)) other = given;
  SecretBytes pair;
  if (inject.secret_is_user) {
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
  if (request.grant == nullptr) return {};
  const auto& secret = request.grant->secret;
  switch (request.grant->binding.inject.place.kind) {
    case Place::Kind::basic:
      return basic_value(request);
    case Place::Kind::query:
      return percent_encode_secret(secret.reveal());
    case Place::Kind::path:
      return percent_encode_secret(secret.reveal(), kPlainInPath);
    case Place::Kind::body:
      return json_escape_secret(secret.reveal());
    default:
      return secret.clone();
  }
}

/// Host, encoding and framing are ours to say; the rest is the client's.
std::string common_fields(const Request& request, std::size_t secret_size) {
  http::Fields fields = request.head.fields;
  remove_what_is_ours(fields, !request.candidates.empty());
  // Scrubbing reads the answer: it had better not be compressed.
  std::string out = "Host: " + request.upstream.host_field() + "\r\nAccept-Encoding: identity\r\n";
  if (request.websocket) {
    // Extensions would compress what scrubbing reads.
    fields.remove("sec-websocket-extensions");
    out += "Connection: Upgrade\r\nUpgrade: websocket\r\n";
  }
  http::write_fields(fields, out);
  const auto& framing = request.head.framing;
  if (request.has_body_hole()) {
    const std::size_t size = request.body_around.before.size() + secret_size + request.body_around.behind.size();
    out += "Content-Length: " + std::to_string(size) + "\r\n";
  } else if (framing.kind == http::Framing::Kind::chunked) {
    out += "Transfer-Encoding: chunked\r\n";
  } else if (framing.kind == http::Framing::Kind::length) {
    out += "Content-Length: " + std::to_string(framing.length) + "\r\n";
  }
  return out;
}

WithHole lay_out(const Request& request, std::size_t secret_size) {
  const std::string start = request.head.method + " ";
  const std::string version = " HTTP/1.1\r\n";
  const std::string fields = common_fields(request, secret_size);
  const std::string line = start + request.target.text() + version;
  if (request.grant == nullptr) return {line + fields + "\r\n", ""};
  const Place& place = request.grant->binding.inject.place;
  switch (place.kind) {
    case Place::Kind::bearer:
      return {line + fields + "Authorization: Bearer ", "\r\n\r\n"};
    case Place::Kind::basic:
      return {line + fields + "Authorization: Basic ", "\r\n\r\n"};
    case Place::Kind::header: {
      const auto hole = place.pattern.find("{}");
      return {line + fields + place.name + ": " + place.pattern.substr(0, hole),
              place.pattern.substr(hole + 2) + "\r\n\r\n"};
    }
    case Place::Kind::query:
      return {start + request.target.text() + (request.target.has_query ? "&" : "?") + place.name + "=",
              version + fields + "\r\n"};
    case Place::Kind::path: {
      const std::string target = request.target.text();
      return {start + target.substr(0, request.path_hole),
              target.substr(request.path_hole) + version + fields + "\r\n"};
    }
    case Place::Kind::body:
      return {line + fields + "\r\n" + request.body_around.before, request.body_around.behind};
  }
  return {};
}

}  // namespace

SecretBytes inject(const Request& request) {
  const SecretBytes value = secret_value(request);
  const WithHole around = lay_out(request, value.size());
  SecretBytes out(around.before.size() + value.size() + around.behind.size());
  auto* at = out.writable().data();
  std::memcpy(at, around.before.data(), around.before.size());
  if (!value.empty()) std::memcpy(at + around.before.size(), value.reveal().data(), value.size());
  std::memcpy(at + around.before.size() + value.size(), around.behind.data(), around.behind.size());
  return out;
}

}  // namespace agentvault::broker
