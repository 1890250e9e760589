#include "session/registry.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <limits>
#include <sstream>

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "session/client_files.hpp"

namespace agentvault::session {
namespace {

constexpr int kBacklog = 16;
constexpr std::chrono::seconds kLockPatience{2};  // somebody who looks for the dead holds it for a moment

/// Socket paths are short by nature (108 bytes); through a descriptor of its folder any depth will do.
class SocketAddress {
 public:
  SocketAddress(const keys::VaultPaths& paths, const std::string& name)
      : folder_(::open(paths.sessions().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {
    if (!folder_) throw_errno("open " + paths.sessions().string());
    const std::string path = "/proc/self/fd/" + std::to_string(folder_.get()) + "/" + name + ".sock";
    address_.sun_family = AF_UNIX;
    if (path.size() >= sizeof address_.sun_path) throw Error(ErrorKind::failed, "session name too long");
    std::copy(path.begin(), path.end(), address_.sun_path);
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address_); }

 private:
  UniqueFd folder_;
  sockaddr_un address_{};
};

std::filesystem::path lock_file(const keys::VaultPaths& paths, const std::string& name) {
  return paths.sessions() / (name + ".lock");
}

std::string program_name(const std::string& process) {
  std::string name;
  std::getline(std::ifstream("/proc/" + process + "/comm"), name);
  return name;
}

bool is_this_program(pid_t pid) {
  return program_name(std::to_string(pid)) == program_name("self");
}

UniqueFd open_control_socket() {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) throw_errno("open a control socket");
  return socket;
}

}  // namespace

Registration::Registration(const keys::VaultPaths& paths, const Bytes& id)
    : paths_(paths), name_(hex(id)), socket_(open_control_socket()) {
  make_private_directory(paths_.sessions());
  lock_ = FileLock::acquire(lock_file(paths_, name_), kLockPatience);
  if (!lock_) throw Error(ErrorKind::failed, "a session of this name is running", "try again");
  if (::bind(socket_.get(), SocketAddress(paths_, name_).get(), sizeof(sockaddr_un)) != 0 ||
      ::listen(socket_.get(), kBacklog) != 0) {
    throw_errno("make the session's control socket");
  }
}

Registration::~Registration() {
  // The lock goes last: while it is held the entry is ours.
  ::unlink((paths_.sessions() / (name_ + ".sock")).c_str());
  ::unlink(lock_file(paths_, name_).c_str());
}

std::vector<std::string> live_sessions(const keys::VaultPaths& paths) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(paths.sessions(), error)) {
    if (entry.path().extension() != ".lock") continue;
    const std::string name = entry.path().stem().string();
    auto others = ClientFiles::all(paths.sessions(), name);
    others.push_back(paths.sessions() / (name + ".sock"));
    if (!FileLock::remove_if_free(entry.path(), others)) names.push_back(name);
  }
  if (error) {
    throw Error(ErrorKind::failed,
                "cannot look for running sessions in " + paths.sessions().string() + ": " + error.message(),
                "make the folder readable again, or end the sessions by hand");
  }
  std::sort(names.begin(), names.end());
  return names;
}

void sweep_dead_sessions(const keys::VaultPaths& paths) {
  try {
    live_sessions(paths);
  } catch (const Error& error) {
    log::debug(error.what());
  }
}

UniqueFd connect_control(const keys::VaultPaths& paths, const std::string& name) {
  // Non-blocking: a stopped session's queue may be full, and then it does not answer.
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket || ::connect(socket.get(), SocketAddress(paths, name).get(), sizeof(sockaddr_un)) != 0) socket.reset();
  return socket;
}

bool is_live(const keys::VaultPaths& paths, const std::string& name) {
  return FileLock::held_by_someone(lock_file(paths, name));
}

pid_t process_of(const keys::VaultPaths& paths, const std::string& name) {
  struct stat info {};
  if (::lstat(lock_file(paths, name).c_str(), &info) != 0) return 0;
  char exact[64];
  std::snprintf(exact, sizeof exact, "%02x:%02x:%llu", major(info.st_dev), minor(info.st_dev),
                static_cast<unsigned long long>(info.st_ino));
  // "1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF" (proc(5)). Some file systems tell another device there than stat
  // does: then the inode must do, if it is one program of ours alone that holds such a lock.
  const std::string inode = ":" + std::to_string(info.st_ino);
  std::vector<pid_t> alike;
  std::ifstream locks("/proc/locks");
  std::string number, family, kind, mode, holder, file;
  for (std::string line; std::getline(locks, line);) {
    std::istringstream words(line);
    if (!(words >> number >> family >> kind >> mode >> holder >> file)) continue;
    const auto pid = parse_unsigned(holder);
    if (family != "FLOCK" || mode != "WRITE" || !pid || *pid == 0 || *pid > std::numeric_limits<pid_t>::max()) continue;
    if (file == exact) return static_cast<pid_t>(*pid);
    if (file.ends_with(inode) && is_this_program(static_cast<pid_t>(*pid))) alike.push_back(static_cast<pid_t>(*pid));
  }
  return alike.size() == 1 ? alike.front() : 0;
}

}  // namespace agentvault::session
