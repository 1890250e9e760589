#include "session/nested.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <set>

#include "base/crypto.hpp"
#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "sandbox/capabilities.hpp"
#include "sandbox/landlock.hpp"
#include "sandbox/standard_streams.hpp"
#include "sandbox/syscall_filter.hpp"
#include "session/exec.hpp"
#include "session/terms.hpp"

namespace agentvault::session {
namespace {

constexpr std::size_t kShortestRun = 40;  // of base64; a token is longer

bool is_token_character(char c) {
  return is_alphanumeric(c) || c == '-' || c == '_';
}

bool is_base64_character(char c) {
  return is_token_character(c) || c == '+' || c == '/' || c == '=';
}

std::uint64_t unix_seconds_after(std::chrono::seconds delay) {
  const auto then = std::chrono::system_clock::now().time_since_epoch() + delay;
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(then).count());
}

/// The one credential that a token is for; nothing when it is for several. "" is none.
const std::string* only_credential(const token::Token& token) {
  for (const auto& caveat : token.caveats) {
    if (const auto* only = std::get_if<token::Credential>(&caveat)) return &only->name;
  }
  return nullptr;
}

class Narrower {
 public:
  explicit Narrower(const NestedRequest& request)
      : request_(request), delegation_(random_bytes(token::kDelegationIdSize)) {}

  /// Nothing: the value holds a token that is not handed on, or one in a form that cannot be narrowed.
  std::optional<std::string> narrow(const std::string& value) {
    dropped_ = false;
    std::string out = narrow_encoded(narrow_text(value));
    if (dropped_ || holds_token(out)) return std::nullopt;
    return out;
  }

  const Bytes& delegation() const { return delegation_; }
  std::vector<std::string>& credentials() { return credentials_; }

 private:
  /// Basic authorizations, in whatever they stand: base64 of a text with a token.
  std::string narrow_encoded(const std::string& text) {
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
      const auto end = end_of_run(text, at);
      const std::string run = text.substr(at, end - at);
      const auto bytes = run.size() >= kShortestRun ? unbase64(run) : std::nullopt;
      if (bytes && as_text(*bytes).find(token::kPrefix) != std::string_view::npos) {
        out += base64(as_bytes(narrow_text(std::string(as_text(*bytes)))));
      } else {
        out += run;
      }
      if (end < text.size()) out.push_back(text[end]);
      at = end + 1;
    }
    return out;
  }

  /// Whether a token of the environment as it was is in there, in a spelling that a reader could undo.
  bool holds_token(const std::string& text) const {
    for (const auto& plain : {text, percent_decoded(text)}) {
      for (const auto& original : originals_) {
        if (plain.find(original) != std::string::npos) return true;
      }
      for (std::size_t at = 0; at < plain.size();) {
        const auto end = end_of_run(plain, at);
        if (end - at >= kShortestRun && decodes_to_original(plain.substr(at, end - at))) return true;
        at = end + 1;
      }
    }
    return false;
  }
  bool decodes_to_original(std::string run) const {
    std::replace(run.begin(), run.end(), '-', '+');
    std::replace(run.begin(), run.end(), '_', '/');
    // Something else may stand in front of it: every alignment.
    for (std::size_t skip = 0; skip < 4 && skip < run.size(); ++skip) {
      std::string part = run.substr(skip);
      while (part.ends_with('=')) part.pop_back();
      part.resize(part.size() - part.size() % 4);
      const auto bytes = unbase64(part);
      if (!bytes) continue;
      for (const auto& original : originals_) {
        // Its last characters may lie behind the cut.
        const auto most = std::string_view(original).substr(0, original.size() - 4);
        if (as_text(*bytes).find(most) != std::string_view::npos) return true;
      }
    }
    return false;
  }
  static std::size_t end_of_run(const std::string& text, std::size_t at) {
    while (at < text.size() && is_base64_character(text[at])) ++at;
    return at;
  }

  std::string narrow_text(const std::string& text) {
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
      const auto begin = std::min(text.find(token::kPrefix, at), text.size());
      out.append(text, at, begin - at);
      auto end = begin;
      while (end < text.size() && is_token_character(text[end])) ++end;
      out += narrow_token(text.substr(begin, end - begin));
      at = end;
    }
    return out;
  }

  std::string narrow_token(const std::string& text) {
    const auto token = token::decode(text);
    if (!token) return text;
    originals_.insert(text);
    const auto* only = only_credential(*token);
    const bool handed_on = only == nullptr || only->empty() || request_.with.empty() ||
                           std::find(request_.with.begin(), request_.with.end(), *only) != request_.with.end();
    if (!handed_on) {
      dropped_ = true;
      return text;
    }
    if (only != nullptr && !only->empty() &&
        std::find(credentials_.begin(), credentials_.end(), *only) == credentials_.end()) {
      credentials_.push_back(*only);
    }
    return encode(token::attenuate(*token, caveats(only == nullptr)));
  }

  std::vector<token::Caveat> caveats(bool of_several) const {
    std::vector<token::Caveat> caveats{token::Delegation{delegation_}};
    if (!request_.agent.empty()) caveats.emplace_back(token::AgentName{request_.agent});
    if (of_several && !request_.with.empty()) caveats.emplace_back(token::Credentials{request_.with});
    if (request_.budget) caveats.emplace_back(token::Budget{*request_.budget});
    if (request_.lifetime) caveats.emplace_back(token::NotAfter{unix_seconds_after(*request_.lifetime)});
    return caveats;
  }

  const NestedRequest& request_;
  Bytes delegation_;
  std::vector<std::string> credentials_;
  std::set<std::string> originals_;  // tokens as they were
  bool dropped_ = false;
};

/// From here on nobody outside of what this process starts can be looked into: their environments hold wider tokens.
void wall_off() {
  if (sandbox::landlock_abi() == 0) {
    throw Error(ErrorKind::failed, "this kernel has no Landlock: a sub-agent could read its parent's tokens",
                "hand on a token of \"agentvault token attenuate\" to one that you trust as far");
  }
  // A connection of its parent's would be a way without its own token.
  sandbox::check_standard_streams();
  sandbox::close_all_but_standard_streams();
  sandbox::Landlock rules(sandbox::access::kNothingMuch, sandbox::Landlock::Scope::sockets_and_signals);
  rules.allow("/", sandbox::access::kNothingMuch);
  rules.enforce();
  sandbox::mark_sub_agent();
  sandbox::drop_capabilities({});
  const std::string parent = "/proc/" + std::to_string(::getppid()) + "/environ";
  const int opened = ::open(parent.c_str(), O_RDONLY | O_CLOEXEC);
  if (opened < 0) return;
  char byte = 0;
  const bool readable = ::read(opened, &byte, 1) > 0;
  ::close(opened);
  if (readable) throw Error(ErrorKind::failed, "the parent's tokens cannot be hidden from a sub-agent here", "");
}

[[noreturn]] void become(const NestedRequest& request, const std::vector<std::string>& entries) {
  std::vector<char*> arguments;
  for (const auto& word : request.command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  std::vector<char*> environment;
  for (const auto& entry : entries) environment.push_back(const_cast<char*>(entry.c_str()));
  environment.push_back(nullptr);
  ::umask(request.child_umask);
  ::environ = environment.data();
  ::signal(SIGXFSZ, SIG_DFL);
  ::execvp(arguments.front(), arguments.data());
  const int code = errno;
  ::_exit(report_failed_start(request.command.front(), code));
}

}  // namespace

bool is_inside_session(const std::vector<std::string>& environment) {
  return !variable(environment, "AGENTVAULT_SESSION").empty() &&
         token::decode(variable(environment, "AGENTVAULT_TOKEN"));
}

NarrowedEnvironment narrow_environment(const NestedRequest& request) {
  for (const auto& name : request.with) {
    if (!valid_name(name)) throw Error(ErrorKind::usage, "not a name: \"" + printable(name) + "\"", "a-z 0-9 . _ -");
  }
  Narrower narrower(request);
  // All tokens are known before it is judged what still holds one.
  for (const auto& entry : request.environment) narrower.narrow(entry);
  NarrowedEnvironment out;
  for (const auto& entry : request.environment) {
    const auto equals = std::min(entry.find('='), entry.size());
    const auto name = entry.substr(0, equals);
    if (equals == entry.size()) continue;
    if (auto value = narrower.narrow(entry.substr(equals + 1))) {
      out.entries.push_back(name + "=" + *value);
    } else if (name.starts_with("GIT_CONFIG_VALUE_")) {
      out.entries.push_back(name + "=");  // git counts them
    }
  }
  for (const auto& name : request.with) {
    const auto& found = narrower.credentials();
    if (std::find(found.begin(), found.end(), name) == found.end()) {
      throw Error(ErrorKind::not_found, "this session has no token for " + printable(name),
                  "\"env\" shows those that it has");
    }
  }
  out.credentials = narrower.credentials();
  out.delegation = narrower.delegation();
  return out;
}

int run_nested(const NestedRequest& request) {
  const auto narrowed = narrow_environment(request);
  wall_off();
  if (!request.quiet) {
    const std::string line = "agentvault: delegation " + hex(narrowed.delegation) + " of session " +
                             printable(variable(request.environment, "AGENTVAULT_SESSION"), 40) +
                             (request.agent.empty() ? "" : " | agent " + request.agent) + " | credentials " +
                             (narrowed.credentials.empty() ? "none" : join(narrowed.credentials, ", ")) + "\n";
    std::fputs(line.c_str(), stderr);
  }
  become(request, narrowed.entries);
}

}  // namespace agentvault::session
