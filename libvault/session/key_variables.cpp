#include "session/key_variables.hpp"

#include <algorithm>
#include <array>

#include "base/text.hpp"

namespace agentvault::session {
namespace {

/// How such names end; a whole name may also be one of these.
constexpr std::array kEnds{"_KEY",     "_APIKEY", "_TOKEN",      "_SECRET",      "_PASSWORD",          "_PASSWD",
                           "_PASS",    "_PAT",    "_CREDENTIAL", "_CREDENTIALS", "_CONNECTION_STRING", "_DSN",
                           "_API_KEYS"};
constexpr std::array kNames{"PASSWORD", "PGPASSWORD", "MYSQL_PWD", "SSHPASS", "APIKEY", "TOKEN", "SECRET"};
/// These are none.
constexpr std::array kNoKeys{"GPG_KEY", "XDG_ACTIVATION_TOKEN", "SSH_ASKPASS"};
constexpr std::array kNoKeyEnds{"_PUBLIC_KEY", "_PUBLISHABLE_KEY"};

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

bool is_named_like_a_key(std::string_view name, std::string_view value) {
  const auto is = [&](std::string_view other) { return name == other; };
  const auto ends = [&](std::string_view end) { return name.ends_with(end); };
  if (any_of(kNoKeys, is) || any_of(kNoKeyEnds, ends) || (!any_of(kNames, is) && !any_of(kEnds, ends))) return false;
  if (value.starts_with('/') || value.starts_with("./")) return false;  // where one lies
  return value.size() >= kShortestNamed || (!value.empty() && name.find("PASS") != std::string_view::npos);
}

bool looks_like_a_key(std::string_view value) {
  if (value.find(kPrivateKey) != std::string_view::npos) return true;
  if (value.size() < kShortest || value.find_first_of(" \t\n") != std::string_view::npos) return false;
  return any_of(kBeginnings, [&](std::string_view beginning) { return value.starts_with(beginning); });
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
