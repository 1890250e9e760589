#include "sandbox/keeper.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <optional>

#include "base/error.hpp"
#include "base/installed_group.hpp"
#include "base/text.hpp"
#include "sandbox/capabilities.hpp"
#include "sandbox/descendants.hpp"
#include "sandbox/furnishing.hpp"
#include "sandbox/git_view.hpp"
#include "sandbox/landlock.hpp"
#include "sandbox/landlock_view.hpp"
#include "sandbox/namespaces.hpp"
#include "sandbox/own_terminal.hpp"
#include "sandbox/standard_streams.hpp"
#include "sandbox/supervisor.hpp"
#include "sandbox/syscall_filter.hpp"

namespace agentvault::sandbox {
namespace {

constexpr int kFailedCode = 125;
constexpr int kBusyWait = 20;  // milliseconds
constexpr std::size_t kMostNoted = 20;

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (auto& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

std::string value_of(const std::vector<std::string>& environment, const std::string& name) {
  for (const auto& entry : environment) {
    if (entry.starts_with(name + "=")) return entry.substr(name.size() + 1);
  }
  return {};
}

/// What the agent's files ask for, where the user has not said otherwise.
void complete_environment(std::vector<std::string>& environment, const FileView& view, const std::string& temporary) {
  for (const auto& entry : view.environment) {
    const auto name = entry.substr(0, entry.find('='));
    if (!value_of(environment, name).empty()) continue;
    const auto value = entry.substr(name.size() + 1);
    environment.push_back(name + "=" + (value.starts_with("%/") ? temporary + value.substr(1) : value));
  }
  for (const std::string name : {"TMPDIR", "TMP", "TEMP"}) {
    std::erase_if(environment, [&](const auto& entry) { return entry.starts_with(name + "="); });
  }
  environment.push_back("TMPDIR=" + temporary);
}

/// Becomes the program, which is looked for in the agent's own PATH when its name has no slash. Returns an errno.
int become(std::vector<std::string> command, std::vector<std::string> environment) {
  auto argv = pointers(command);
  auto envp = pointers(environment);
  ::signal(SIGXFSZ, SIG_DFL);
  ::execvpe(argv[0], argv.data(), envp.data());
  return errno;
}

/// As a shell says it.
int status_of_failed_start(int code) {
  return code == ENOENT ? 127 : 126;
}

/// To whoever listens there, if anybody takes it at once: the agent must not make this process wait.
UniqueFd connect_inside(std::uint16_t port) {
  constexpr int patience = 20;  // milliseconds; on one machine it is there at once, or its queue is full
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_in place{};
  place.sin_family = AF_INET;
  place.sin_port = htons(port);
  place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (!socket) return UniqueFd();
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&place), sizeof place) == 0) return socket;
  if (errno != EINPROGRESS) return UniqueFd();
  pollfd done{socket.get(), POLLOUT, 0};
  int error = 0;
  socklen_t size = sizeof error;
  const bool connected = ::poll(&done, 1, patience) > 0 &&
                         ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
  return connected ? std::move(socket) : UniqueFd();
}

/// As they are when the session begins: what an agent puts in their places is not shared.
std::vector<FileIdentity> identities(const std::vector<std::filesystem::path>& paths) {
  std::vector<FileIdentity> out;
  for (const auto& path : paths) {
    struct stat info {};
    if (::stat(path.c_str(), &info) == 0) out.push_back(FileIdentity::of(info));
  }
  return out;
}

class Keeper {
 public:
  Keeper(const CellRequest& request, Channel channel, Owner owner)
      : request_(request), channel_(std::move(channel)), owner_(owner) {}

  [[noreturn]] void run() {
    try {
      prepare();
      const auto order = channel_.receive();
      if (!order || order->kind != kEnter) ::_exit(kFailedCode);
      const auto furnishing = decode_furnishing(order->bytes);
      if (request_.level == Level::off) become_agent_at_once(furnishing);
      furnish(furnishing);
      start(furnishing);
      watch();
    } catch (const Error& error) {
      report(error);
    } catch (const std::exception& error) {
      report(Error(ErrorKind::failed, error.what()));
    }
    ::_exit(kFailedCode);
  }

 private:
  bool strict() const { return request_.level == Level::strict; }

  void report(const Error& error) {
    try {
      channel_.send(
          kFailed,
          ByteWriter().u8(static_cast<std::uint8_t>(error.kind())).text(error.what()).text(error.hint()).bytes());
    } catch (...) {
    }
  }

  [[noreturn]] void become_agent_at_once(const Furnishing& furnishing) {
    ::umask(request_.umask);
    ::prctl(PR_SET_PDEATHSIG, 0);
    // The channel closes with the start of the program; what comes before is an errno.
    const int code = become(request_.command, furnishing.environment);
    channel_.send(kNotStarted, Bytes{static_cast<std::uint8_t>(code)});
    ::_exit(status_of_failed_start(code));
  }

  void prepare() {
    std::vector<int> sent;
    const UniqueFd persons = request_.level == Level::off ? UniqueFd() : OwnTerminal::persons();
    if (strict()) {
      map_own_user(owner_.user, owner_.group);
      leave_a_share_to_others();
      InstalledGroup::give_up();
    }
    if (request_.level != Level::off) {
      check_standard_streams();
      view_ = view_of(request_.files);
      shared_sockets_ = identities(request_.files.share);
    }
    if (strict()) {
      doors_ = set_up_inner_network(request_.reached_ports);
      pins_ = set_up_mounts(view_);
      if (persons) terminal_.emplace("/dev/pts/ptmx", persons);
      sent = {doors_.main.get(), doors_.tokenless.get(), doors_.names.get()};
      if (doors_.redirected) sent.push_back(doors_.redirected.get());
      for (const auto& door : doors_.by_port) sent.push_back(door.get());
      for (const auto& door : doors_.reached) sent.push_back(door.get());
    }
    if (request_.level == Level::standard) {
      check_without_mounts(view_, request_.files.hide);
      note_what_stays_open(view_);
      if (persons) terminal_.emplace("/dev/ptmx", persons);
      if (landlock_abi() < kLeastAbi) throw Error(ErrorKind::failed, "this kernel has no Landlock of version 2");
      int ends[2];
      if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) throw_errno("make a pipe");
      announcements_.reset(ends[1]);
      readable_announcements_.reset(ends[0]);
      sent = {readable_announcements_.get()};
    }
    without_token_ = doors_.without_token;
    UniqueFd outer_end = terminal_ ? terminal_->take_outer_end() : UniqueFd();
    if (outer_end) sent.insert(sent.begin(), outer_end.get());
    ByteWriter ready;
    ready.u8(view_.working_directory_writable).u8(static_cast<bool>(doors_.redirected)).u8(terminal_.has_value());
    auto summary = request_.level == Level::off ? std::vector<std::string>() : summary_of(view_);
    for (const auto* lines : {&view_.notes, &summary}) {
      ready.u32(static_cast<std::uint32_t>(lines->size()));
      for (const auto& line : *lines) ready.text(line);
    }
    channel_.send(kReady, ready.bytes(), sent);
    doors_ = Doors();
    outer_end.reset();
    readable_announcements_.reset();
    if (request_.level == Level::off) return;
    // While exec opens the vault.
    foreign_streams_ = streams_outside(view_);
    if (strict()) supervised_folders_ = folders_without_making(view_);
    filter_.emplace(AgentFilter::Walls{strict(), !strict() || !foreign_streams_.empty(), !supervised_folders_.empty()});
    const std::string terminal = terminal_ ? terminal_->name() : "";
    files_ = strict() ? writing_rules_for(view_) : rules_for(view_, terminal);
    if (strict()) return;
    descendants_.emplace();
    // Without a namespace that ends with it, this process tidies up when exec is gone: its channel tells.
    ::prctl(PR_SET_PDEATHSIG, 0);
  }

  void furnish(const Furnishing& furnishing) {
    environment_ = furnishing.environment;
    if (strict()) {
      add_session_files(furnishing.files, furnishing.roots);
      complete_environment(environment_, view_, "/tmp");
      return;
    }
    complete_environment(environment_, view_, make_temporary_folder());
  }

  /// Without a mount namespace /tmp cannot be private: a folder in it can.
  std::string make_temporary_folder() {
    std::string pattern = "/tmp/agentvault-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) throw_errno("make a folder in /tmp");
    temporary_ = pattern;
    return temporary_;
  }

  void start(const Furnishing& furnishing) {
    block_signals();
    int result[2];
    if (::pipe2(result, O_CLOEXEC) != 0) throw_errno("make a pipe");
    UniqueFd reads(result[0]), writes(result[1]);
    auto [ours, theirs] = Channel::make();
    // Not the session that exec is in: there any process may open its terminal, and come to its front.
    if (::setsid() < 0) throw_errno("begin a session");
    if (terminal_) terminal_->lead();
    agent_ = ::fork();
    if (agent_ < 0) throw_errno("start a process");
    if (agent_ == 0) {
      reads.reset();
      ours.close();
      become_agent(furnishing, theirs, writes.get());
    }
    writes.reset();
    theirs.close();
    // What stays is for looking at the agent's connections, and for putting covers back.
    if (strict()) {
      guard_.emplace(view_, pins_);
      drop_capabilities({CAP_SYS_PTRACE, CAP_SYS_ADMIN});
    } else {
      drop_capabilities();
    }
    auto filter = ours.receive();
    if (!filter || filter->descriptors.empty()) {
      throw Error(
          ErrorKind::failed, failure_of(filter),
          "another sandbox around this one may forbid it; --isolation off goes without, and holds no hostile agent");
    }
    supervisor_.emplace(std::move(filter->descriptors.front()), connect_policy(furnishing), attribute_policy(),
                        creation_policy());
    std::uint8_t code = 0;
    if (read_up_to(reads.get(), {&code, 1}, "the agent's start") != 0) {
      channel_.send(kNotStarted, Bytes{code});
      finish(status_of_failed_start(code));
    }
    const UniqueFd handle(static_cast<int>(::syscall(SYS_pidfd_open, agent_, 0)));
    if (!handle) throw_errno("hold the agent");
    channel_.send(kStarted, {}, {handle.get()});
    if (descendants_) descendants_->appoint_successor();
  }

  static std::string failure_of(const std::optional<Message>& message) {
    return message ? std::string(as_text(message->bytes)) : "the agent's process ended before it was confined";
  }

  ConnectPolicy connect_policy(const Furnishing& furnishing) {
    ConnectPolicy policy;
    policy.local_sockets = strict();
    policy.shared_sockets = shared_sockets_;
    policy.only_loopback = !strict();
    policy.announced_ports = furnishing.broker_ports;
    policy.other_ports = furnishing.other_ports;
    policy.announcements = announcements_.get();
    policy.filters_of_agent = count_filters(::getpid()) + 1;
    policy.without_token = strict() ? without_token_ : furnishing.without_token;
    return policy;
  }

  AttributePolicy attribute_policy() const {
    AttributePolicy policy;
    policy.kept = foreign_streams_;
    policy.only_writable = !strict();
    policy.writable = written_without_mounts(view_);
    policy.writable.emplace_back("/dev/shm");
    if (!temporary_.empty()) policy.writable.emplace_back(temporary_);
    return policy;
  }

  std::optional<CreationSupervisor::Policy> creation_policy() {
    if (supervised_folders_.empty()) return std::nullopt;
    return CreationSupervisor::Policy{supervised_folders_, ReservedNames(view_),
                                      [this](const auto& path, auto program) { note_refusal(path, program); }};
  }

  void note_refusal(const std::filesystem::path& path, std::string_view program) {
    const std::string line = printable(path.lexically_relative(view_.working_directory).string()) + " (" +
                             std::string(program) + " obeys it)";
    if (std::find(refused_.begin(), refused_.end(), line) != refused_.end()) return;
    if (refused_.size() < kMostNoted) refused_.push_back(line);
  }

  /// What the person is to know about the project when the agent has left it.
  void tell_what_was_made() {
    std::vector<std::string> lines;
    if (!refused_.empty()) {
      lines.push_back("not made in the project: " + join(refused_, ", ") +
                      "; --write NAME lets the agent make one of them");
    }
    if (supervisor_) {
      const auto repositories = supervisor_->repositories();
      if (repositories.size() >= CreationSupervisor::kMostRepositories) {
        lines.push_back("the agent made " + std::to_string(repositories.size()) +
                        " git repositories or more: look at them before you use git there");
      }
      for (const auto& git : repositories) {
        const auto what = runs_programs(git);
        if (!what) continue;
        lines.push_back("the agent made the git repository " + printable(git.string()) + ", which runs programs (" +
                        printable(*what) + "): look at it before you use git there");
      }
    }
    try {
      for (const auto& line : lines) channel_.send(kNoted, as_bytes(line));
    } catch (const Error&) {
      // exec is gone.
    }
  }

  /// In what becomes the agent: everything is given up here.
  [[noreturn]] void become_agent(const Furnishing& furnishing, const Channel& keeper, int result) {
    try {
      ::umask(request_.umask);
      ::sigprocmask(SIG_SETMASK, &original_mask_, nullptr);
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      channel_.send(kHello);
      if (::setpgid(0, 0) != 0) throw_errno("give the agent a group");
      if (terminal_) terminal_->attach(furnishing.in_front);
      drop_capabilities();
      confine_files(furnishing);
      if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) throw_errno("give up new privileges");
      const UniqueFd listener = filter_->enforce();
      keeper.send(kStarted, {}, {listener.get()});
      if (::syscall(SYS_close_range, 3U, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */) != 0) throw_errno("close descriptors");
      const std::uint8_t code = static_cast<std::uint8_t>(become(request_.command, std::move(environment_)));
      write_all(result, {&code, 1}, "the agent's start");
    } catch (const std::exception& error) {
      try {
        keeper.send(kFailed, as_bytes(error.what()));
      } catch (...) {
      }
    }
    ::_exit(kFailedCode);
  }

  void confine_files(const Furnishing& furnishing) {
    if (!files_) return;
    if (!temporary_.empty()) files_->allow_exactly(temporary_, access::kAll);
    for (const auto& path : furnishing.readable_files) files_->allow(path, access::kReadFile);
    files_->enforce();
  }

  void block_signals() {
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_BLOCK, &all, &original_mask_);
    sigset_t children;
    ::sigemptyset(&children);
    ::sigaddset(&children, SIGCHLD);
    child_signals_.reset(::signalfd(-1, &children, SFD_NONBLOCK | SFD_CLOEXEC));
    if (!child_signals_) throw_errno("watch signals");
  }

  [[noreturn]] void watch() {
    for (;;) {
      const bool busy = supervisor_->busy();
      const int wait = busy ? kBusyWait : guard_ ? guard_->patience() : -1;
      pollfd sources[]{{channel_.get(), POLLIN, 0},
                       {child_signals_.get(), POLLIN, 0},
                       {busy ? -1 : supervisor_->get(), POLLIN, 0},
                       {guard_ ? guard_->get() : -1, POLLPRI, 0}};
      if (::poll(sources, std::size(sources), wait) < 0 && errno != EINTR) ::_exit(kFailedCode);
      if (sources[1].revents != 0) look_at_children();
      if (guard_) guard_->restore(sources[3].revents != 0);
      if ((sources[2].revents & POLLIN) != 0) supervisor_->answer_some();
      if (sources[0].revents != 0) hear_exec();
    }
  }

  void hear_exec() {
    const auto order = channel_.receive();
    // It is gone, and the session with it.
    if (!order) finish(kFailedCode);
    if (order->kind == kContinue && order->bytes.size() == 1) return go_on(order->bytes[0] != 0);
    if (order->kind == kSignal && order->bytes.size() == 1) {
      ::kill(-agent_, order->bytes[0]);
      return;
    }
    if (order->kind != kConnect || order->bytes.size() != 2) finish(kFailedCode);
    const auto connection = connect_inside(static_cast<std::uint16_t>(read_big_endian(order->bytes)));
    try {
      if (connection) return channel_.send(kConnected, {}, {connection.get()});
    } catch (const Error&) {
      // Too many descriptors are on their way somewhere: as if nobody listened.
    }
    channel_.send(kConnected);
  }

  void go_on(bool in_front) {
    if (terminal_) terminal_->bring_to_front(in_front ? agent_ : ::getpgrp());
    ::kill(-agent_, SIGCONT);
  }

  void look_at_children() {
    signalfd_siginfo info;
    while (::read(child_signals_.get(), &info, sizeof info) > 0) {
    }
    for (;;) {
      int status = 0;
      const pid_t pid = ::waitpid(-1, &status, WNOHANG | WUNTRACED);
      if (pid <= 0) return;
      if (pid != agent_) continue;
      if (WIFSTOPPED(status)) {
        channel_.send(kStopped, Bytes{static_cast<std::uint8_t>(WSTOPSIG(status))});
      } else {
        finish(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
      }
    }
  }

  /// With the first process of a namespace all others end; without one they are ended here.
  [[noreturn]] void finish(int status) {
    tell_what_was_made();
    if (descendants_) descendants_->end();
    std::error_code left_behind;
    if (!temporary_.empty()) std::filesystem::remove_all(temporary_, left_behind);
    ::_exit(status);
  }

  const CellRequest& request_;
  Channel channel_;
  const Owner owner_;
  FileView view_;
  std::vector<std::filesystem::path> pins_;
  std::optional<OwnTerminal> terminal_;
  Doors doors_;
  std::vector<std::string> environment_;
  std::string temporary_;
  std::vector<std::filesystem::path> supervised_folders_;
  std::vector<std::string> refused_;
  std::vector<FileIdentity> shared_sockets_;
  std::vector<FileIdentity> foreign_streams_;
  std::vector<std::uint16_t> without_token_;
  UniqueFd announcements_;
  UniqueFd readable_announcements_;
  UniqueFd child_signals_;
  sigset_t original_mask_{};
  pid_t agent_ = -1;
  std::optional<AgentFilter> filter_;
  std::optional<Landlock> files_;
  std::optional<Descendants> descendants_;
  std::optional<Supervisor> supervisor_;
  std::optional<MountGuard> guard_;
};

}  // namespace

void keep(const CellRequest& request, Channel channel, Owner owner) {
  InstalledGroup::let_go_of_vault();
  // In a namespace of its own it has no group yet.
  if (request.level != Level::strict) InstalledGroup::give_up();
  // It must not outlive exec.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // In a namespace of its own it does not see its parent: the channel tells.
  if (request.level != Level::strict && ::getppid() != owner.process) ::_exit(kFailedCode);
  // Of what exec was started with only its standard streams.
  if (request.level != Level::off) {
    close_all_but_standard_streams({channel.get()});
  }
  Keeper(request, std::move(channel), owner).run();
}

}  // namespace agentvault::sandbox
