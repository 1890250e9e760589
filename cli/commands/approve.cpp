#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "base/error.hpp"
#include "base/text.hpp"
#include "commands/commands.hpp"
#include "output.hpp"
#include "session/control.hpp"
#include "session/registry.hpp"
#include "session/withdraw.hpp"
#include "terminal.hpp"

namespace agentvault::cli {
namespace {

using session::ControlCommand;

std::string left_until(std::int64_t until) {
  const auto now =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch());
  return std::to_string(std::max<std::int64_t>(0, until - now.count())) + " s";
}

Record record_of(const std::string& session, const broker::Question& question, bool json) {
  Record record{{"id", question.id},
                {"session", session},
                {"request", question.method + " " + question.url},
                {"credential", question.credential},
                {"asked by", question.chain},
                {"rule", question.rule},
                {"left to answer", left_until(question.until)}};
  if (json) record.emplace_back("headers", question.headers);
  // One a line: a value could look like the next.
  for (const auto& header : question.headers) {
    if (!json) record.emplace_back("header", header);
  }
  if (question.body_size > 0) {
    record.emplace_back("body size", static_cast<std::int64_t>(question.body_size));
    record.emplace_back("body sha256", question.body_sha256);
    const bool whole = question.body_size == question.body_start.size();
    record.emplace_back(whole ? "body" : "body begins", question.body_start);
  }
  return record;
}

Error nothing_waits(const std::string& id) {
  return Error(ErrorKind::not_found, "nothing with the id " + printable(id, 40) + " waits for approval",
               "it may have been answered, or its time is up: \"agentvault approve\" shows what waits");
}

int show_questions(const Arguments& a) {
  const auto paths = a.paths_of_vault();
  std::vector<Record> records;
  for (const auto& name : session::live_sessions(paths)) {
    const auto questions = session::ask_questions(paths, name);
    if (!questions) note("session " + name + " does not answer");
    for (const auto& question : questions.value_or(std::vector<broker::Question>())) {
      records.push_back(record_of(name, question, a.json));
    }
  }
  if (a.json || records.empty()) {
    print_table(records, a.json, "nothing waits for approval");
    return 0;
  }
  for (std::size_t i = 0; i < records.size(); ++i) {
    if (i > 0) std::puts("");
    print_record(records[i], false);
  }
  return 0;
}

/// As it is into a file or a pipe, escaped on a terminal.
int show_body(const Arguments& a) {
  const auto paths = a.paths_of_vault();
  for (const auto& name : session::live_sessions(paths)) {
    const auto body = session::ask_question_body(paths, name, a.question);
    if (!body) continue;
    if (::isatty(STDOUT_FILENO) != 0) {
      std::puts(printable_message(*body, body->size() * 4).c_str());
    } else if (std::fwrite(body->data(), 1, body->size(), stdout) != body->size()) {
      throw Error(ErrorKind::failed, "the body could not be written", "is there space left?");
    }
    return 0;
  }
  throw nothing_waits(a.question);
}

int answer(const Arguments& a, const ControlCommand& command) {
  const auto paths = a.paths_of_vault();
  paths.check_directory();
  const auto result = session::withdraw(paths, session::live_sessions(paths), command, session::Silent::leave);
  if (!result.told.empty()) return 0;
  throw nothing_waits(command.subject);
}

}  // namespace

int run_approve(const Arguments& a) {
  a.paths_of_vault().check();
  if (a.question.empty()) {
    if (a.whole_session || a.body || !a.duration.empty())
      throw Error(ErrorKind::usage, "approve what?", "name the id of what waits");
    return show_questions(a);
  }
  if (a.body) {
    if (a.whole_session || !a.duration.empty())
      throw Error(ErrorKind::usage, "--body only shows", "approve it with the next command");
    return show_body(a);
  }
  if (a.whole_session && !a.duration.empty())
    throw Error(ErrorKind::usage, "--session and --for exclude each other", "give one");
  ControlCommand command{ControlCommand::Kind::approve, a.question, 0};
  constexpr std::uint64_t session_long = 366 * 86'400;  // no session lives longer
  if (a.whole_session) command.seconds = session_long;
  if (!a.duration.empty()) {
    const auto duration = parse_duration(a.duration);
    if (!duration)
      throw Error(ErrorKind::usage, "not a duration: \"" + printable(a.duration) + "\"", "write 90s, 15m or 12h");
    command.seconds = static_cast<std::uint64_t>(duration->count());
  }
  answer(a, command);
  note(command.seconds == 0 ? "approved, this once"
                            : "approved, and requests of the same token, credential, method and path with it");
  return 0;
}

int run_deny(const Arguments& a) {
  answer(a, {ControlCommand::Kind::deny, a.question, 0});
  note("denied");
  return 0;
}

}  // namespace agentvault::cli
