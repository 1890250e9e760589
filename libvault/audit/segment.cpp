#include "audit/segment.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "base/error.hpp"
#include "base/log.hpp"

namespace agentvault::audit {
namespace {

constexpr int kFormat = 1;
constexpr std::size_t kMostCollected = 256 * 1024;

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

Segment::~Segment() {
  if (!fd_ || broken_) return;
  try {
    commit();
  } catch (const Error& error) {
    log::warning(error.what());
  }
}

LineWriter Segment::begin_line(const char* kind) {
  if (broken_) throw Error(ErrorKind::failed, "the audit log could not be written before", "start a new session");
  if (lines_.size() > kMostCollected) commit();
  LineWriter line(lines_);
  line.number("v", kFormat).number("seq", appended_).text("time", clock_.now()).text("event", kind);
  return line;
}

void Segment::end_line(LineWriter& line) {
  line.end();
  ++appended_;
}

void Segment::append(const SessionBegan& event) {
  auto line = begin_line("session-began");
  line.text("agent", event.agent).list("credentials", event.credentials);
  line.text("isolation", event.isolation).text("tpm", event.tpm);
  end_line(line);
}

void Segment::append(const SessionEnded& event) {
  auto line = begin_line("session-ended");
  line.text("reason", event.reason);
  end_line(line);
}

void Segment::append(const AuthorityWithdrawn& event) {
  auto line = begin_line("withdrawn");
  line.text("what", event.what);
  end_line(line);
}

void Segment::append(const RequestDecided& event) {
  auto line = begin_line("decided");
  line.number("request", event.request).text("token", event.token).list("chain", event.chain);
  line.text("credential", event.credential).text("host", event.host);
  line.text("method", event.method).text("path", event.path);
  line.text("decision", name_of(event.decision)).text("reason", event.reason);
  end_line(line);
}

void Segment::append(const RequestSettled& event) {
  auto line = begin_line("settled");
  line.number("request", event.request).number("status", static_cast<std::uint64_t>(event.status));
  line.number("bytes_sent", event.bytes_sent).number("bytes_received", event.bytes_received);
  line.number("scrubbed", event.scrubbed).number("ms", event.milliseconds).text("ended", event.ended);
  end_line(line);
}

void Segment::commit() {
  if (lines_.empty()) return;
  const bool was_broken = std::exchange(broken_, true);
  if (was_broken) throw Error(ErrorKind::failed, "the audit log could not be written before", "start a new session");
  write_all(fd_.get(), as_bytes(lines_), "the audit log");
  broken_ = false;
  lines_.clear();
  committed_ = appended_;
}

void Segment::sync() {
  ::fdatasync(fd_.get());
}

}  // namespace agentvault::audit
