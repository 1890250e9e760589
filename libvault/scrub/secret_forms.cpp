#include "scrub/secret_forms.hpp"

#include <algorithm>
#include <string_view>

#include "base/encoding.hpp"
#include "base/text.hpp"

namespace agentvault::scrub {
namespace {

constexpr std::string_view kLower = "0123456789abcdef";
constexpr std::string_view kUpper = "0123456789ABCDEF";
constexpr std::size_t kMostPerByte = 6;     // "\u00e9", "&quot;"
constexpr std::size_t kLargeSecret = 4096;  // no key, but a file: its rarer spellings would fill the locked memory

/// Fills locked memory byte by byte: no spelling of a secret lies anywhere else.
class FormWriter {
 public:
  explicit FormWriter(std::size_t secret_size) : out_(secret_size * kMostPerByte + 1) {}
  void put(std::uint8_t byte) { out_.writable()[used_++] = byte; }
  void put(std::string_view text) {
    for (char c : text) put(static_cast<std::uint8_t>(c));
  }
  void put_hex(std::uint8_t byte, std::string_view digits) {
    put(static_cast<std::uint8_t>(digits[byte >> 4]));
    put(static_cast<std::uint8_t>(digits[byte & 15]));
  }
  /// A copy: what was reserved is much larger.
  SecretBytes take() { return SecretBytes::copy_of(out_.reveal().first(used_)); }

 private:
  SecretBytes out_;
  std::size_t used_ = 0;
};

template <class Spell>
SecretBytes spelled(ByteView secret, const Spell& spell) {
  FormWriter writer(secret.size());
  for (auto byte : secret) spell(byte, writer);
  return writer.take();
}

bool is_plain(std::uint8_t byte, std::string_view also_plain) {
  const char c = static_cast<char>(byte);
  return is_alphanumeric(c) || also_plain.find(c) != std::string_view::npos;
}

/// Without the characters that depend on what stands before (`offset` bytes, modulo 3) and behind.
SecretBytes base64_at(ByteView secret, std::size_t offset) {
  SecretBytes shifted(offset + secret.size());
  std::copy(secret.begin(), secret.end(), shifted.writable().begin() + static_cast<std::ptrdiff_t>(offset));
  const SecretBytes all = base64_secret(shifted.reveal());
  const std::size_t from = (8 * offset + 5) / 6;
  const std::size_t to = 8 * shifted.size() / 6;
  return SecretBytes::copy_of(all.reveal().subspan(from, to - from));
}

SecretBytes url_alphabet(const SecretBytes& base64) {
  return spelled(base64.reveal(), [](std::uint8_t byte, FormWriter& out) {
    out.put(byte == '+' ? std::uint8_t{'-'} : byte == '/' ? std::uint8_t{'_'} : byte);
  });
}

/// RFC 3986's unreserved characters; JavaScript's encodeURIComponent; HTML forms (with '+' for a blank).
SecretBytes percent_form(ByteView secret, std::string_view plain, bool plus, std::string_view digits) {
  return spelled(secret, [&](std::uint8_t byte, FormWriter& out) {
    if (is_plain(byte, plain)) return out.put(byte);
    if (byte == ' ' && plus) return out.put("+");
    out.put("%");
    out.put_hex(byte, digits);
  });
}

/// What writers of JSON escape besides what they must: slashes (PHP), what means something in HTML (Go, Rails).
SecretBytes json_form(ByteView secret, std::string_view also_escaped, std::string_view digits) {
  return spelled(secret, [&](std::uint8_t byte, FormWriter& out) {
    const char c = static_cast<char>(byte);
    const bool asked = also_escaped.find(c) != std::string_view::npos;
    if (c == '\n') return out.put("\\n");
    if (c == '\r') return out.put("\\r");
    if (c == '\t') return out.put("\\t");
    if (c == '"' || c == '\\' || (c == '/' && asked)) {
      out.put("\\");
      return out.put(byte);
    }
    if (byte >= 0x20 && !asked) return out.put(byte);
    out.put("\\u00");
    out.put_hex(byte, digits);
  });
}

SecretBytes html_form(ByteView secret, std::string_view quote, std::string_view apostrophe) {
  return spelled(secret, [&](std::uint8_t byte, FormWriter& out) {
    switch (static_cast<char>(byte)) {
      case '&':
        return out.put("&amp;");
      case '<':
        return out.put("&lt;");
      case '>':
        return out.put("&gt;");
      case '"':
        return out.put(quote);
      case '\'':
        return out.put(apostrophe);
      default:
        return out.put(byte);
    }
  });
}

bool is_new(const std::vector<SecretBytes>& forms, const SecretBytes& secret, const SecretBytes& form) {
  return !constant_time_equal(form.reveal(), secret.reveal()) &&
         std::none_of(forms.begin(), forms.end(),
                      [&](const auto& known) { return constant_time_equal(known.reveal(), form.reveal()); });
}

}  // namespace

std::vector<SecretBytes> encoded_forms(const SecretBytes& secret) {
  std::vector<SecretBytes> forms;
  const auto add = [&](SecretBytes form) {
    if (is_new(forms, secret, form)) forms.push_back(std::move(form));
  };
  const ByteView bytes = secret.reveal();
  for (std::size_t offset = 0; offset < 3; ++offset) {
    SecretBytes base64 = base64_at(bytes, offset);
    add(url_alphabet(base64));
    add(std::move(base64));
  }
  add(percent_form(bytes, "-._~", false, kUpper));
  add(json_form(bytes, "", kLower));
  if (bytes.size() > kLargeSecret) return forms;
  for (const auto digits : {kLower, kUpper}) {
    add(spelled(bytes, [&](std::uint8_t byte, FormWriter& out) { out.put_hex(byte, digits); }));
    add(percent_form(bytes, "-._~", false, digits));
    add(percent_form(bytes, "-._~!'()*", false, digits));
    add(percent_form(bytes, "-._*", true, digits));
    for (const std::string_view also : {"", "/", "<>&", "<>&'", "<>&'/"}) add(json_form(bytes, also, digits));
  }
  add(html_form(bytes, "&quot;", "&#39;"));
  add(html_form(bytes, "&#34;", "&#x27;"));
  return forms;
}

}  // namespace agentvault::scrub
