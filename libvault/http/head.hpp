// The strict head parser: the security boundary towards the agent and the upstream (RFC 9112). What two servers could
// read differently is refused, never guessed: bare CR or LF, obsolete folding, white space around names, two lengths, a
// length beside chunked, other transfer codings, control characters.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "http/fields.hpp"

namespace agentvault::http {

inline constexpr std::size_t kMaxHead = 64 * 1024;
inline constexpr std::size_t kMaxTarget = 16 * 1024;
inline constexpr std::size_t kMaxFields = 128;

/// How the body ends (RFC 9112, section 6.3).
struct Framing {
  enum class Kind { none, length, chunked, until_end } kind = Kind::none;
  std::uint64_t length = 0;
};

struct RequestHead {
  std::string method;
  std::string target;  // as sent
  int minor_version = 1;
  Fields fields;
  Framing framing;

  bool keep_alive() const;
};

struct ResponseHead {
  int status = 0;
  int minor_version = 1;
  Fields fields;

  bool keep_alive() const;
};

struct Incomplete {};
/// What to answer (requests), and why.
struct Malformed {
  int status = 400;
  std::string reason;
};
template <class Head>
struct Parsed {
  Head head;
  std::size_t size;  // bytes of the input that it took
};

template <class Head>
using ParseResult = std::variant<Incomplete, Malformed, Parsed<Head>>;

/// The framing of the request is judged here: there is no head without it.
ParseResult<RequestHead> parse_request_head(std::string_view input);
ParseResult<ResponseHead> parse_response_head(std::string_view input);

/// The framing of a response depends on the request's method. Nothing: ambiguous, must not be used.
std::optional<Framing> response_framing(const ResponseHead& head, std::string_view request_method);

/// Fields up to an empty line, as in a trailer section. `text` ends with the line end of the last field.
std::optional<Fields> parse_field_lines(std::string_view text);

}  // namespace agentvault::http
