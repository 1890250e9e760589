#include "session/launcher.hpp"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/error.hpp"

namespace agentvault::session {
namespace {

constexpr std::size_t kMaxEnvironment = std::size_t{8} << 20;  // the kernel takes about 2 MiB

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (auto& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

/// Runs in the launcher. Nothing may escape from here but exec and _exit.
[[noreturn]] void become(std::vector<std::string> command, int channel) {
  std::uint8_t header[4];
  if (read_up_to(channel, header, "the launcher's channel") != sizeof header) ::_exit(125);
  const auto size = read_big_endian(header);
  Bytes text(std::min<std::uint64_t>(size, kMaxEnvironment));
  if (size > kMaxEnvironment || read_up_to(channel, text, "the launcher's channel") != size) ::_exit(125);
  std::vector<std::string> environment;
  for (auto at = text.begin(); at != text.end();) {
    const auto end = std::find(at, text.end(), 0);
    environment.emplace_back(at, end);
    at = end == text.end() ? end : end + 1;
  }
  ::prctl(PR_SET_PDEATHSIG, 0);
  auto argv = pointers(command);
  auto envp = pointers(environment);
  ::execvpe(argv[0], argv.data(), envp.data());
  const std::uint8_t code = static_cast<std::uint8_t>(errno);
  if (::write(channel, &code, 1) != 1) ::_exit(125);
  ::_exit(code == ENOENT ? 127 : 126);
}

}  // namespace

Launcher::Launcher(std::vector<std::string> command, mode_t umask) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) throw_errno("make a channel");
  UniqueFd theirs(ends[1]);
  channel_.reset(ends[0]);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) throw_errno("start a process");
  if (pid_ == 0) {
    channel_.reset();
    ::umask(umask);
    // Until it is the agent it must not outlive exec.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(125);
    try {
      become(std::move(command), theirs.get());
    } catch (...) {
      ::_exit(125);
    }
  }
}

Launcher::~Launcher() {
  if (started_) return;
  channel_.reset();
  ::waitpid(pid_, nullptr, 0);
}

int Launcher::start(const std::vector<std::string>& environment) {
  std::string text;
  for (const auto& entry : environment) {
    text += entry;
    text.push_back('\0');
  }
  ByteWriter message;
  message.text(text);
  write_all(channel_.get(), message.bytes(), "the launcher's channel");
  // End of file means that exec closed the channel: it worked.
  std::uint8_t code = 0;
  if (read_up_to(channel_.get(), {&code, 1}, "the launcher's channel") == 0) {
    started_ = true;
    return 0;
  }
  return code;
}

}  // namespace agentvault::session
