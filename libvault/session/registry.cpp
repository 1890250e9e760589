#include "session/registry.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/text.hpp"

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
  write_process_id();
  if (::bind(socket_.get(), SocketAddress(paths_, name_).get(), sizeof(sockaddr_un)) != 0 ||
      ::listen(socket_.get(), kBacklog) != 0) {
    throw_errno("make the session's control socket");
  }
}

/// For whoever must end this session when it does not answer and its queue is full.
void Registration::write_process_id() const {
  const UniqueFd file(::open(lock_file(paths_, name_).c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOFOLLOW));
  if (!file) throw_errno("write the session's lock");
  write_all(file.get(), as_bytes(std::to_string(::getpid())), "the session's lock");
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
    if (!FileLock::remove_if_free(entry.path(), {paths.sessions() / (name + ".sock")})) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
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
  constexpr std::size_t most = 16;
  const auto text = read_file(lock_file(paths, name), most);
  const auto number = text ? parse_unsigned(as_text(*text)) : std::nullopt;
  return number && *number <= std::numeric_limits<pid_t>::max() ? static_cast<pid_t>(*number) : 0;
}

}  // namespace agentvault::session
