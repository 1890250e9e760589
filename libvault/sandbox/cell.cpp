#include "sandbox/cell.hpp"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "sandbox/keeper.hpp"
#include "sandbox/namespaces.hpp"

namespace agentvault::sandbox {
namespace {

constexpr const char* kDied = "the process that holds the agent ended before it was ready";

UniqueFd handle_of(pid_t pid) {
  UniqueFd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!handle) throw_errno("hold the child");
  return handle;
}

}  // namespace

Cell::Cell(const CellRequest& request) : level_(request.level) {
  auto [ours, theirs] = Channel::make();
  const Owner owner{::getpid(), ::geteuid(), ::getegid()};
  child_ = level_ == Level::strict ? fork_into_namespaces() : ::fork();
  if (child_ < 0) throw_errno("start a process");
  if (child_ == 0) {
    ours.close();
    keep(request, std::move(theirs), owner);
  }
  channel_ = std::move(ours);
  theirs.close();
  try {
    // Without a keeper it becomes the agent itself.
    if (level_ == Level::off) agent_handle_ = handle_of(child_);
    expect_ready();
  } catch (...) {
    channel_.close();
    ::waitpid(child_, nullptr, 0);
    throw;
  }
}

Cell::~Cell() {
  if (entered_) return;
  channel_.close();
  ::waitpid(child_, nullptr, 0);
}

void Cell::fail(const Message& message) {
  ByteReader in(message.bytes);
  const auto kind = static_cast<ErrorKind>(in.number(1));
  const std::string text = in.text();
  throw Error(kind, text, in.text());
}

void Cell::expect_ready() {
  auto message = channel_.receive();
  if (!message) throw Error(ErrorKind::failed, kDied);
  if (message->kind == kFailed) fail(*message);
  if (message->kind != kReady) throw Error(ErrorKind::failed, kDied);
  ByteReader in(message->bytes);
  working_directory_writable_ = in.number(1) != 0;
  const bool redirected = in.number(1) != 0;
  const bool has_terminal = in.number(1) != 0;
  for (auto* lines : {&notes_, &summary_}) {
    for (auto left = in.number(4); left > 0; --left) lines->push_back(in.text());
  }
  auto next = message->descriptors.begin();
  const auto take = [&] { return next == message->descriptors.end() ? UniqueFd() : std::move(*next++); };
  if (has_terminal) terminal_ = take();
  if (level_ == Level::standard) announcements_ = take();
  if (level_ != Level::strict) return;
  doors_.main = take();
  doors_.tokenless = take();
  doors_.names = take();
  if (redirected) {
    doors_.redirected = take();
  } else {
    for (int i = 0; i < 2; ++i) doors_.by_port.push_back(take());
  }
  while (next != message->descriptors.end()) doors_.reached.push_back(take());
}

int Cell::enter(const Furnishing& furnishing) {
  channel_.send(kEnter, encode(furnishing));
  while (auto message = channel_.receive()) {
    switch (message->kind) {
      case kHello:
        agent_ = message->sender;
        break;
      case kStarted:
        if (message->descriptors.empty()) throw Error(ErrorKind::failed, kDied);
        agent_handle_ = std::move(message->descriptors.front());
        entered_ = true;
        return 0;
      case kNotStarted:
        return message->bytes.empty() ? 0 : message->bytes[0];
      case kFailed:
        fail(*message);
      default:
        throw Error(ErrorKind::failed, kDied);
    }
  }
  // Without a keeper its end means that the child has become the agent.
  if (level_ != Level::off) throw Error(ErrorKind::failed, kDied);
  agent_ = child_;
  entered_ = true;
  return 0;
}

Cell::Event Cell::next_event() {
  auto message = channel_.receive();
  if (message && message->kind == kStopped && message->bytes.size() == 1) {
    return {Event::Kind::stopped, UniqueFd(), message->bytes[0]};
  }
  if (message && message->kind == kNoted) {
    last_notes_.emplace_back(as_text(message->bytes));
    return {Event::Kind::noted, UniqueFd(), 0};
  }
  if (!message || message->kind != kConnected) return {};
  auto& received = message->descriptors;
  return {Event::Kind::connected, received.empty() ? UniqueFd() : std::move(received.front()), 0};
}

void Cell::go_on(bool in_front) {
  channel_.send(kContinue, Bytes{in_front});
}

void Cell::signal_group(int number) {
  channel_.send(kSignal, Bytes{static_cast<std::uint8_t>(number)});
}

void Cell::ask_for_connection(std::uint16_t port) {
  channel_.send(kConnect, ByteWriter().u16(port).bytes());
}

}  // namespace agentvault::sandbox
