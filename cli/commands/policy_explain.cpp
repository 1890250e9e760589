#include "base/error.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "judgement.hpp"
#include "output.hpp"
#include "policy_file.hpp"
#include "policy_services.hpp"
#include "session/governance.hpp"
#include "terminal.hpp"

namespace agentvault::cli {
namespace {

constexpr std::size_t kMaxBody = std::size_t{16} << 20;

AskedRequest asked_for(const Arguments& a) {
  if (!http::is_token(a.method)) {
    throw Error(ErrorKind::usage, "not a method: " + printable(a.method), "write GET or POST");
  }
  AskedRequest asked{a.method, a.url, a.credential, {}, std::nullopt};
  for (const auto& header : a.headers) {
    const auto colon = header.find(':');
    if (colon == std::string::npos || !http::is_token(std::string_view(header).substr(0, colon))) {
      throw Error(ErrorKind::usage, "not a header: \"" + printable(header) + "\"", "write \"Name: value\"");
    }
    asked.fields.add(header.substr(0, colon), std::string(trim(std::string_view(header).substr(colon + 1))));
  }
  if (a.body_file.empty()) return asked;
  const auto contents = read_file(a.body_file, kMaxBody);
  if (!contents) throw Error(ErrorKind::not_found, "there is no file " + printable(a.body_file), "is the path right?");
  asked.body = std::string(as_text(*contents));
  const bool says_type = asked.fields.count("content-type") > 0;
  if (says_type && !a.content_type.empty()) {
    throw Error(ErrorKind::usage, "both --header and --content-type say what the body is", "give one of them");
  }
  if (!says_type) asked.fields.add("Content-Type", a.content_type.empty() ? "application/json" : a.content_type);
  return asked;
}

}  // namespace

int run_policy_explain(const Arguments& a) {
  const auto paths = a.paths_of_vault();
  paths.check();
  const auto snapshot = store::Database::open(paths.database()).newest();
  const auto governance = session::governance_of(snapshot.policies, a.agent, current_folder());
  const auto* agent = governance.agent ? &*governance.agent : nullptr;
  const auto asked = asked_for(a);
  const auto candidates = candidates_of(snapshot);
  const auto verdict = judge(asked, agent, candidates);
  const auto at_first = judge(asked, agent, candidates, {true, true, 0}).effect;
  print_record({{"decision", std::string(name_of(verdict.effect))},
                {"at first", std::string(name_of(at_first))},
                {"reason", verdict.reason},
                {"rule", verdict.rule},
                {"credential", verdict.credential},
                {"policy", governance.source()},
                {"judged", verdict.judged}},
               a.json);
  return verdict.effect == policy::Effect::deny ? Error(ErrorKind::denied, "").exit_code() : 0;
}

}  // namespace agentvault::cli
