#include "base/encoding.hpp"

#include <openssl/evp.h>
#include <algorithm>

#include "base/text.hpp"

namespace agentvault {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string hex(ByteView bytes) {
  std::string out;
  out.reserve(2 * bytes.size());
  for (auto byte : bytes) {
    out.push_back(kHexDigits[byte >> 4]);
    out.push_back(kHexDigits[byte & 15]);
  }
  return out;
}

std::optional<Bytes> unhex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  Bytes out;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = hex_value(text[i]);
    const int low = hex_value(text[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    out.push_back(static_cast<std::uint8_t>(high << 4 | low));
  }
  return out;
}

std::string base64url(ByteView bytes) {
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int written =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes.data(), static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(written));
  while (!out.empty() && out.back() == '=') out.pop_back();
  for (char& c : out) c = c == '+' ? '-' : c == '/' ? '_' : c;
  return out;
}

std::optional<Bytes> unbase64url(std::string_view text) {
  std::string padded(text);
  for (char& c : padded) {
    if (c == '+' || c == '/' || c == '=') return std::nullopt;
    c = c == '-' ? '+' : c == '_' ? '/' : c;
  }
  while (padded.size() % 4 != 0) padded.push_back('=');
  auto bytes = unbase64(padded);
  // One sequence of bytes has one text: refuse spare bits in the last character.
  if (!bytes || base64url(*bytes) != text) return std::nullopt;
  return bytes;
}

std::optional<Bytes> unbase64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::size_t padding = 0;
  while (padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  if (padding > 2) return std::nullopt;
  for (char c : text.substr(0, text.size() - padding)) {
    if (!is_alphanumeric(c) && c != '+' && c != '/') return std::nullopt;  // OpenSSL would skip white space
  }
  Bytes out(text.size() / 4 * 3 + 1);
  const int written =
      EVP_DecodeBlock(out.data(), reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (written < 0 || static_cast<std::size_t>(written) < padding) return std::nullopt;
  out.resize(static_cast<std::size_t>(written) - padding);
  return out;
}

std::string base64(ByteView bytes) {
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int written =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes.data(), static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(written));
  return out;
}

SecretBytes base64_secret(ByteView bytes) {
  SecretBytes out(4 * ((bytes.size() + 2) / 3) + 1);
  const int written = EVP_EncodeBlock(out.writable().data(), bytes.data(), static_cast<int>(bytes.size()));
  out.shrink(static_cast<std::size_t>(written));
  return out;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = text[i] == '%' && i + 2 < text.size() ? unhex(text.substr(i + 1, 2)) : std::nullopt;
    out.push_back(byte ? static_cast<char>(byte->front()) : text[i]);
    if (byte) i += 2;
  }
  return out;
}

std::string form_decoded(std::string_view text) {
  std::string out(text);
  std::replace(out.begin(), out.end(), '+', ' ');
  return percent_decoded(out);
}

SecretBytes json_escape_secret(ByteView bytes) {
  SecretBytes out(6 * bytes.size());
  auto space = out.writable();
  std::size_t used = 0;
  for (auto byte : bytes) {
    if (byte < 0x20) {
      for (char c : {'\\', 'u', '0', '0', kHexDigits[byte >> 4], kHexDigits[byte & 15]}) {
        space[used++] = static_cast<std::uint8_t>(c);
      }
      continue;
    }
    if (byte == '"' || byte == '\\') space[used++] = '\\';
    space[used++] = byte;
  }
  out.shrink(used);
  return out;
}

SecretBytes percent_encode_secret(ByteView bytes, std::string_view also_plain) {
  SecretBytes out(3 * bytes.size());
  auto space = out.writable();
  std::size_t used = 0;
  for (auto byte : bytes) {
    const char c = static_cast<char>(byte);
    if (is_alphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~' ||
        also_plain.find(c) != std::string_view::npos) {
      space[used++] = byte;
    } else {
      space[used++] = '%';
      space[used++] = static_cast<std::uint8_t>(to_upper(kHexDigits[byte >> 4]));
      space[used++] = static_cast<std::uint8_t>(to_upper(kHexDigits[byte & 15]));
    }
  }
  out.shrink(used);
  return out;
}

}  // namespace agentvault
