#include "audit/segment.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/text.hpp"

namespace agentvault::audit {
namespace {

using nlohmann::ordered_json;

constexpr int kFormat = 1;

const char* name_of(Decision decision) {
  return decision == Decision::allow ? "allow" : decision == Decision::deny ? "deny" : "ask";
}

}  // namespace

Segment Segment::create(const std::filesystem::path& directory, const std::string& session) {
  make_private_directory(directory);
  make_private_directory(directory / session);
  const auto file = directory / session / "events.jsonl";
  UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) throw_errno("create the audit log " + file.string());
  return Segment(std::move(fd));
}

template <class Json>
void Segment::append(const char* kind, Json body) {
  Json line{
      {"v", kFormat}, {"seq", sequence_}, {"time", format_time(std::chrono::system_clock::now())}, {"event", kind}};
  line.update(body);
  // An agent chooses bytes that are no UTF-8: replaced, never an exception.
  const std::string text = line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  // Half a line may be there after a failure: nothing is appended to it, and so nothing is forwarded any more.
  if (broken_) throw Error(ErrorKind::failed, "the audit log could not be written before", "start a new session");
  broken_ = true;
  write_all(fd_.get(), as_bytes(text), "the audit log");
  broken_ = false;
  ++sequence_;
}

void Segment::write(const SessionBegan& event) {
  append("session-began", ordered_json{{"agent", event.agent},
                                       {"credentials", event.credentials},
                                       {"isolation", event.isolation},
                                       {"tpm", event.tpm}});
}

void Segment::write(const SessionEnded& event) {
  append("session-ended", ordered_json{{"reason", event.reason}});
}

void Segment::write(const AuthorityWithdrawn& event) {
  append("withdrawn", ordered_json{{"what", event.what}});
}

void Segment::write(const RequestDecided& event) {
  append("decided", ordered_json{{"request", event.request},
                                 {"token", event.token},
                                 {"chain", event.chain},
                                 {"credential", event.credential},
                                 {"host", event.host},
                                 {"method", event.method},
                                 {"path", event.path},
                                 {"decision", name_of(event.decision)},
                                 {"reason", event.reason}});
}

void Segment::write(const RequestSettled& event) {
  append("settled", ordered_json{{"request", event.request},
                                 {"status", event.status},
                                 {"bytes_sent", event.bytes_sent},
                                 {"bytes_received", event.bytes_received},
                                 {"scrubbed", event.scrubbed},
                                 {"ms", event.milliseconds},
                                 {"ended", event.ended}});
}

void Segment::sync() {
  ::fdatasync(fd_.get());
}

}  // namespace agentvault::audit
