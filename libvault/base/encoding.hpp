// Hexadecimal, base64 and base64url (RFC 4648). Decoders are strict: no whitespace, no wrong padding, no stray bits.
// Not for secrets: the results are ordinary strings. (Secrets are encoded by base64_secret, into a SecretBytes.)
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/secret_bytes.hpp"

namespace agentvault {

std::string hex(ByteView bytes);
std::optional<Bytes> unhex(std::string_view text);

/// Without padding, as in RFC 4648 section 5 and RFC 7515.
std::string base64url(ByteView bytes);
std::optional<Bytes> unbase64url(std::string_view text);

std::string base64(ByteView bytes);
std::optional<Bytes> unbase64(std::string_view text);
SecretBytes base64_secret(ByteView bytes);

/// %XX to its byte; broken escapes stay as they are (RFC 3986, section 2.1).
std::string percent_decoded(std::string_view text);
/// The same with '+' for a blank, as servers read queries (WHATWG URL, application/x-www-form-urlencoded).
std::string form_decoded(std::string_view text);

/// Percent-encodes everything that is not unreserved (RFC 3986 section 2.3) or in `also_plain`.
SecretBytes percent_encode_secret(ByteView bytes, std::string_view also_plain = "");
/// As it stands between the quotes of a JSON text (RFC 8259 section 7); UTF-8 stays as it is.
SecretBytes json_escape_secret(ByteView bytes);

}  // namespace agentvault
