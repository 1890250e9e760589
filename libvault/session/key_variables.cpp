#include "session/key_variables.hpp"

#include <algorithm>
#include <array>

#include "base/text.hpp"

namespace agentvault::session {
namespace {

/// How such names end, without a number behind; a whole name may also be one of those below.
constexpr std::array kEnds{
    "_KEY", "_APIKEY",   "_TOKEN",       "_SECRET",      "_PASSWORD",    "_PASSWD",    "_PASS",
    "_PWD", "_PAT",      "_PASSPHRASE",  "_CREDENTIAL",  "_CREDENTIALS", "_CREDS",     "_AUTH",
    "_DSN", "_API_KEYS", "_AUTH_CONFIG", "_WEBHOOK_URL", "_KEY_BASE",    "_AUTHTOKEN", "_CONNECTION_STRING"};
constexpr std::array kNames{"PASSWORD", "PGPASSWORD", "MYSQL_PWD", "SSHPASS", "APIKEY", "TOKEN", "SECRET"};
/// These are none.
constexpr std::array kNoKeys{"GPG_KEY", "XDG_ACTIVATION_TOKEN", "STARSHIP_SESSION_KEY", "PUBLIC_KEY"};
constexpr std::array kNoKeyEnds{"_PUBLIC_KEY", "_PUBLISHABLE_KEY", "_CACHE_KEY", "_SORT_KEY", "_FOREIGN_KEY"};

/// What keys begin with, and nothing else does. Shorter ones of presets ("re_") say too little.
constexpr std::array kBeginnings{
    "sk-",         "sk_live_", "sk_test_", "rk_live_",   "rk_test_", "ghp_",    "gho_",  "ghu_",    "ghs_",
    "github_pat_", "glpat-",   "gldt-",    "glsa_",      "xoxb-",    "xoxp-",   "xapp-", "AIza",    "hf_",
    "npm_",        "pypi-",    "shpat_",   "SG.",        "dop_v1_",  "gsk_",    "csk-",  "xai-",    "pplx-",
    "tvly-",       "figd_",    "phx_",     "lsv2_",      "nfp_",     "ATATT",   "ATTA",  "sntrys_", "sntryu_",
    "CCIPAT_",     "NRAK-",    "pcsk_",    "sb_secret_", "ntn_",     "secret_", "AQ.",   "whsec_",  "eyJ"};
constexpr std::size_t kShortest = 20;  // of a key that is known by its beginning alone
constexpr std::size_t kShortestNamed = 8;
constexpr std::string_view kPrivateKey = "PRIVATE KEY-----";

template <class List>
bool any_of(const List& list, const auto& fits) {
  return std::any_of(list.begin(), list.end(), fits);
}

/// "openai_api_key_2": OPENAI_API_KEY.
std::string plain_name(std::string_view name) {
  while (!name.empty() && (is_digit(name.back()) || name.back() == '_')) name.remove_suffix(1);
  std::string out;
  for (const char c : name) out += to_upper(c);
  return out;
}

bool is_path(std::string_view value) {
  if (value.starts_with('/') || value.starts_with("./") || value.starts_with("~/")) return true;
  for (const char* end : {".pem", ".key", ".crt", ".json"}) {
    if (value.ends_with(end)) return true;
  }
  return false;
}

bool is_named_like_a_key(std::string_view given, std::string_view value) {
  const auto name = plain_name(given);
  const auto is = [&](std::string_view other) { return name == other; };
  const auto ends = [&](std::string_view end) { return std::string_view(name).ends_with(end); };
  if (any_of(kNoKeys, is) || any_of(kNoKeyEnds, ends) || (!any_of(kNames, is) && !any_of(kEnds, ends))) return false;
  if (is_path(value)) return false;
  const bool number = std::all_of(value.begin(), value.end(), is_digit);
  return value.size() >= kShortestNamed || (!number && name.find("PASS") != std::string::npos);
}

/// A beginning of theirs, long enough, and with digits.
bool is_key(std::string_view word) {
  const auto fits = [&](std::string_view beginning) {
    if (!word.starts_with(beginning) || word.size() < kShortest) return false;
    const auto rest = word.substr(beginning.size());
    return std::any_of(rest.begin(), rest.end(), is_digit);
  };
  return any_of(kBeginnings, fits);
}

bool looks_like_a_key(std::string_view value) {
  if (value.find(kPrivateKey) != std::string_view::npos) return true;
  for (const std::string_view word : {"Authorization: ", "authorization=", "Password=", "password="}) {
    if (value.find(word) != std::string_view::npos) return true;
  }
  constexpr std::string_view between = " \t\n\r,;:=@/\"'";
  for (std::size_t at = 0; at < value.size();) {
    const auto end = std::min(value.find_first_of(between, at), value.size());
    if (is_key(value.substr(at, end - at))) return true;
    at = end + 1;
  }
  return false;
}

/// scheme://user:password@host
bool has_password(std::string_view value) {
  const auto scheme = value.find("://");
  if (scheme == std::string_view::npos) return false;
  const auto authority = value.substr(scheme + 3, value.find_first_of("/?#", scheme + 3) - scheme - 3);
  const auto at = authority.rfind('@');
  const auto colon = authority.find(':');
  return at != std::string_view::npos && colon < at && at - colon > 1;
}

}  // namespace

bool holds_a_key(std::string_view name, std::string_view value) {
  return is_named_like_a_key(name, value) || looks_like_a_key(value) || has_password(value);
}

}  // namespace agentvault::session
