#include <cstdio>
#include <cstdlib>

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "http/fields.hpp"
#include "output.hpp"
#include "token/token.hpp"

namespace agentvault::cli {
namespace {

token::Token given_token(const Arguments& a) {
  const char* variable = std::getenv("AGENTVAULT_TOKEN");
  const std::string text = !a.token.empty() ? a.token : variable != nullptr ? variable : "";
  if (text.empty()) {
    throw Error(ErrorKind::usage, "no token given", "name one, or run this inside \"agentvault exec\"");
  }
  auto decoded = token::decode(text);
  if (!decoded)
    throw Error(ErrorKind::usage, "not a token of agentvault", "tokens begin with agv_ and are passed on whole");
  return std::move(*decoded);
}

std::string describe(const token::Caveat& caveat) {
  if (const auto* c = std::get_if<token::NotAfter>(&caveat)) {
    return "not after " +
           format_time(std::chrono::system_clock::from_time_t(static_cast<std::time_t>(c->unix_seconds)));
  }
  if (const auto* c = std::get_if<token::Credential>(&caveat)) return "credential " + c->name;
  if (const auto* c = std::get_if<token::Methods>(&caveat)) return "methods " + join(c->methods, "|");
  if (const auto* c = std::get_if<token::Paths>(&caveat)) {
    std::vector<std::string> patterns;
    for (const auto& pattern : c->patterns) patterns.push_back(pattern.text());
    return "paths " + join(patterns, " ");
  }
  if (const auto* c = std::get_if<token::Budget>(&caveat)) return "budget " + std::to_string(c->requests) + " requests";
  if (const auto* c = std::get_if<token::Credentials>(&caveat)) return "credentials " + join(c->names, "|");
  if (const auto* c = std::get_if<token::Depth>(&caveat)) return "depth " + std::to_string(c->left);
  if (const auto* c = std::get_if<token::Delegation>(&caveat)) return "delegation " + hex(c->id);
  return "agent " + std::get<token::AgentName>(caveat).name;
}

std::uint64_t unix_now() {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count());
}

token::Paths path_caveat(const std::vector<std::string>& texts) {
  token::Paths paths;
  for (const auto& text : texts) {
    auto pattern = http::PathPattern::parse(text);
    if (!pattern)
      throw Error(ErrorKind::usage, "not a path pattern: \"" + printable(text) + "\"",
                  "write it like /v1/models/* or /v1/files/**");
    paths.patterns.push_back(std::move(*pattern));
  }
  return paths;
}

std::vector<token::Caveat> wanted_caveats(const Arguments& a) {
  std::vector<token::Caveat> caveats;
  if (!a.lifetime.empty()) {
    const auto lifetime = parse_duration(a.lifetime);
    if (!lifetime)
      throw Error(ErrorKind::usage, "not a duration: \"" + printable(a.lifetime) + "\"", "write 90s, 15m, 12h or 7d");
    caveats.emplace_back(token::NotAfter{unix_now() + static_cast<std::uint64_t>(lifetime->count())});
  }
  for (const auto* name : {&a.credential, &a.agent_name}) {
    if (!name->empty() && !valid_name(*name))
      throw Error(ErrorKind::usage, "not a name: \"" + printable(*name) + "\"", "a-z 0-9 . _ -");
  }
  if (!a.credential.empty()) caveats.emplace_back(token::Credential{a.credential});
  for (const auto& method : a.methods) {
    if (!http::is_token(method))
      throw Error(ErrorKind::usage, "not a method: \"" + printable(method) + "\"", "write GET or POST");
  }
  if (!a.methods.empty()) caveats.emplace_back(token::Methods{a.methods});
  if (!a.paths.empty()) caveats.emplace_back(path_caveat(a.paths));
  // Every attenuation gets an id of its own, so that it can be revoked alone.
  caveats.emplace_back(token::Delegation{random_bytes(16)});
  if (!a.agent_name.empty()) caveats.emplace_back(token::AgentName{a.agent_name});
  if (a.budget) caveats.emplace_back(token::Budget{*a.budget});
  if (a.depth) caveats.emplace_back(token::Depth{*a.depth});
  return caveats;
}

}  // namespace

int run_token_inspect(const Arguments& arguments) {
  const auto token = given_token(arguments);
  Record record{{"session", hex(token.session)},
                {"id", hex(token.id)},
                {"generation", static_cast<std::int64_t>(token.generation)},
                {"verified", false}};
  std::vector<std::string> caveats;
  for (const auto& caveat : token.caveats) caveats.push_back(describe(caveat));
  record.emplace_back("caveats", caveats);
  print_record(record, arguments.json);
  return 0;
}

int run_token_attenuate(const Arguments& arguments) {
  const std::string narrower = token::encode(token::attenuate(given_token(arguments), wanted_caveats(arguments)));
  if (arguments.json) {
    print_record({{"token", narrower}}, true);
  } else {
    std::puts(narrower.c_str());
  }
  return 0;
}

}  // namespace agentvault::cli
