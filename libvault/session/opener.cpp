#include "session/opener.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/installed_group.hpp"
#include "base/text.hpp"

namespace agentvault::session {
namespace {

constexpr std::size_t kMaxText = 1 << 20;
constexpr std::size_t kMaxSecret = 1 << 17;

/// What goes through the channel: one kind byte, then fields.
enum Message : std::uint8_t { kOpened = 1, kGrant = 2, kComplete = 3, kError = 4, kGoverned = 5 };

class Reader {
 public:
  explicit Reader(int fd) : fd_(fd) {}
  std::uint8_t u8() { return static_cast<std::uint8_t>(number(1)); }
  std::uint64_t u64() { return number(8); }
  std::string text() {
    Bytes out(size(kMaxText));
    fill(out);
    return {out.begin(), out.end()};
  }
  SecretBytes secret() {
    SecretBytes out(size(kMaxSecret));
    fill(out.writable());
    return out;
  }

 private:
  std::uint64_t number(std::size_t width) {
    Bytes out(width);
    fill(out);
    return read_big_endian(out);
  }
  std::size_t size(std::size_t most) {
    const auto value = number(4);
    if (value > most)
      throw Error(ErrorKind::failed, "a credential of the vault is larger than a session takes",
                  "\"agentvault exec --with NAME,...\" leaves it out");
    return static_cast<std::size_t>(value);
  }
  void fill(std::span<std::uint8_t> space) {
    if (read_up_to(fd_, space, "the opener's channel") != space.size()) {
      throw Error(ErrorKind::failed, "the vault was not opened: interrupted", "try again");
    }
  }
  int fd_;
};

void send(int fd, const ByteWriter& message) {
  write_all(fd, message.bytes(), "the opener's channel");
}

void send_secret(int fd, const SecretBytes& secret) {
  send(fd, ByteWriter().u32(static_cast<std::uint32_t>(secret.size())));
  write_all(fd, secret.reveal(), "the opener's channel");
}

/// What the policy grants; of it, what the command line names.
std::vector<const store::CredentialRow*> select(const keys::Vault& vault, const std::vector<std::string>& with,
                                                const Governance& governance) {
  const auto granted = [&](const std::string& name) { return !governance.agent || governance.agent->grants(name); };
  std::vector<const store::CredentialRow*> rows;
  if (with.empty()) {
    for (const auto& row : vault.snapshot().credentials) {
      if (granted(row.name)) rows.push_back(&row);
    }
  }
  for (const auto& name : with) {
    if (std::any_of(rows.begin(), rows.end(), [&](const auto* row) { return row->name == name; })) continue;
    const auto* row = vault.find(name);
    if (row == nullptr) {
      throw Error(ErrorKind::not_found, "there is no credential named " + printable(name),
                  "\"agentvault list\" shows the names");
    }
    if (!granted(name)) {
      throw Error(ErrorKind::denied, "the policy does not grant " + name + " to the agent " + governance.agent->name,
                  "its credentials are named in " + governance.source());
    }
    rows.push_back(row);
  }
  return rows;
}

void open_and_send(const OpenRequest& request, int fd) {
  auto vault = keys::Vault::open(request.paths, keys::Access::read, request.tpm, request.pin);
  const auto& snapshot = vault.snapshot();
  if (vault.is_revoked(request.agent)) {
    throw Error(ErrorKind::denied, "the agent " + request.agent + " is revoked",
                "\"agentvault revoke --agent " + request.agent + " --lift\" gives it back what it had");
  }
  send(fd, ByteWriter().u8(kOpened).u64(snapshot.stage.generation).text(snapshot.vault.tpm));
  // What a policy's writer that was killed has not told the others.
  if (vault.has_news()) announce_policies(vault, request.paths, hex(request.session));
  const auto governance = governance_of(snapshot.policies, request.agent, request.folder);
  send(fd, ByteWriter()
               .u8(kGoverned)
               .u64(snapshot.stage.epoch)
               .u64(snapshot.stage.sequence)
               .text(governance.path)
               .text(governance.text));
  send_secret(fd, vault.master().announcement_key(request.session));
  send_secret(fd, vault.budget_key());
  for (const auto* row : select(vault, request.with, governance)) {
    send(fd, ByteWriter().u8(kGrant).text(row->name).text(row->binding));
    send_secret(fd, vault.secret_of(*row));
  }
  send(fd, ByteWriter().u8(kComplete));
}

/// Nothing of exec's stays with the opener but the channel: not its session lock, not its control socket. And it does
/// not outlive exec: a prompt would.
int detach_from_exec(int channel, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(1);
  constexpr int kept = 3;
  if (channel != kept) ::dup3(channel, kept, O_CLOEXEC);
  const int vault = InstalledGroup::held();
  if (vault > kept) {
    if (vault > kept + 1) ::close_range(kept + 1, static_cast<unsigned>(vault - 1), 0);
    ::close_range(static_cast<unsigned>(vault + 1), ~0U, 0);
  } else {
    ::close_range(kept + 1, ~0U, 0);
  }
  return kept;
}

/// What libraries would obey is not for a process that has the master key. A TPM that the command line names may be a
/// program of the user's, but not under a group of ours.
void clean_environment() {
  std::vector<const char*> names{"CREDENTIALS_DIRECTORY"};
  if (!InstalledGroup::in_use()) names.insert(names.end(), {"PATH", "HOME", "DBUS_SYSTEM_BUS_ADDRESS"});
  std::vector<std::pair<const char*, std::string>> kept;
  for (const char* name : names) {
    if (const char* value = std::getenv(name); value != nullptr) kept.emplace_back(name, value);
  }
  ::clearenv();
  for (const auto& [name, value] : kept) ::setenv(name, value.c_str(), 1);
}

[[noreturn]] void run_opener(const OpenRequest& request, int fd) {
  clean_environment();
  try {
    open_and_send(request, fd);
  } catch (const Error& error) {
    try {
      send(fd,
           ByteWriter().u8(kError).u8(static_cast<std::uint8_t>(error.kind())).text(error.what()).text(error.hint()));
    } catch (...) {
    }
  } catch (...) {
  }
  ::_exit(0);
}

Opened receive(Reader reader) {
  Opened opened;
  for (;;) {
    switch (reader.u8()) {
      case kOpened:
        opened.generation = reader.u64();
        opened.tpm = reader.text();
        break;
      case kGrant: {
        std::string name = reader.text();
        auto binding = provider::Binding::from_json(reader.text());
        opened.grants.push_back({std::move(name), std::move(binding), reader.secret()});
        break;
      }
      case kGoverned:
        opened.version.first = reader.u64();
        opened.version.second = reader.u64();
        opened.governance.path = reader.text();
        opened.governance.text = reader.text();
        opened.announcement_key = reader.secret();
        opened.budget_key = reader.secret();
        break;
      case kComplete:
        return opened;
      case kError: {
        const auto kind = static_cast<ErrorKind>(reader.u8());
        const std::string message = reader.text();
        throw Error(kind, message, reader.text());
      }
      default:
        throw Error(ErrorKind::failed, "the opener spoke out of turn");
    }
  }
}

}  // namespace

Opened open_in_a_process_of_its_own(const OpenRequest& request, const WaitForOpener& wait) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) throw_errno("make a channel");
  UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) throw_errno("start the opener");
  if (pid == 0) run_opener(request, detach_from_exec(theirs.get(), parent));
  theirs.reset();
  try {
    if (!wait(ours.get())) {
      ::kill(pid, SIGTERM);  // it may be asking for the PIN, and then puts the terminal right first
      throw Error(ErrorKind::denied, "the session was revoked before it began", "start another one");
    }
    Opened opened = receive(Reader(ours.get()));
    ::waitpid(pid, nullptr, 0);
    return opened;
  } catch (...) {
    ours.reset();
    ::waitpid(pid, nullptr, 0);
    throw;
  }
}

}  // namespace agentvault::session
