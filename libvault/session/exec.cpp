#include "session/exec.hpp"

#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "broker/broker.hpp"
#include "session/environment.hpp"
#include "session/launcher.hpp"
#include "session/registry.hpp"
#include "session/session_control.hpp"
#include "session/signals.hpp"

namespace agentvault::session {
namespace {

constexpr std::size_t kSessionIdSize = 8;
constexpr const char* kIsolation = "off";

std::vector<std::string> names(const std::vector<broker::Grant>& grants) {
  std::vector<std::string> out;
  for (const auto& grant : grants) out.push_back(grant.name);
  return out;
}

std::string session_line(const std::string& id, const std::string& tpm, const std::vector<std::string>& credentials,
                         std::chrono::seconds lifetime) {
  return "agentvault: session " + id + " | isolation off (nothing holds a hostile agent) | " +
         tpm::TransportName::parse_stored(tpm).description() + " | egress open | credentials " +
         (credentials.empty() ? "none" : printable(join(credentials, ", "))) + " | at most " +
         format_duration(lifetime) + "\n";
}

std::uint64_t unix_seconds_after(std::chrono::seconds delay) {
  const auto then = std::chrono::system_clock::now().time_since_epoch() + delay;
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(then).count());
}

int report_failed_start(const std::string& command, int code) {
  const bool missing = code == ENOENT;
  std::fprintf(stderr, "agentvault: error: cannot run %s: %s\nhint: %s\n", printable(command).c_str(),
               std::generic_category().message(code).c_str(),
               missing ? "is it installed, and in PATH?" : "is it executable?");
  return missing ? 127 : 126;
}

std::string mint(broker::SessionState& state, const std::string& credential, std::chrono::seconds lifetime) {
  std::vector<token::Caveat> caveats{token::NotAfter{unix_seconds_after(lifetime)}};
  if (!credential.empty()) caveats.emplace_back(token::Credential{credential});
  return token::encode(state.mint(std::move(caveats)));
}

Environment environment_for(const ExecRequest& request, broker::SessionState& state, const broker::Broker& broker) {
  return build_environment(
      {request.environment, &state.grants(), broker.authority(), hex(state.id()),
       [&](const std::string& credential) { return mint(state, credential, request.max_lifetime); },
       [&](std::string_view value) { return broker.holds_secret(value); }});
}

/// Wakes the reactor's caller when a descriptor can be read.
class Readable final : public net::Watcher {
 public:
  Readable(net::Reactor& reactor, int fd) : reactor_(reactor), fd_(fd) { reactor_.add(fd, EPOLLIN | EPOLLRDHUP, this); }
  ~Readable() override { reactor_.remove(fd_, this); }
  Readable(const Readable&) = delete;
  Readable& operator=(const Readable&) = delete;

 private:
  void on_ready(std::uint32_t) override { reactor_.stop(); }
  net::Reactor& reactor_;
  int fd_;
};

}  // namespace

int run_exec(ExecRequest request) {
  // 1. The launcher, before anything is unsealed: it inherits no secret.
  Launcher launcher(request.command, request.child_umask);
  harden_process();

  // 2. The session is registered, and can be stopped, before its opener reads the vault: a stop cannot miss it.
  const Bytes id = random_bytes(kSessionIdSize);
  request.open.paths.check();
  Registration registration(request.open.paths, id);
  net::Reactor reactor;
  const std::string program = std::filesystem::path(request.command.front()).filename().string();
  SessionControl control(reactor, registration.control_socket(),
                         {registration.name(),
                          ::getpid(),
                          request.open.agent,
                          {},
                          kIsolation,
                          program,
                          static_cast<std::int64_t>(unix_seconds_after(std::chrono::seconds(0))),
                          0});

  // 3. The opener hands over what is granted, and is gone.
  Opened opened = open_in_a_process_of_its_own(request.open, [&](int channel) {
    const Readable readable(reactor, channel);
    reactor.run();
    return !control.stopped();
  });
  const auto credentials = names(opened.grants);
  control.status().credentials = credentials;

  // 4. The session's own key; its tokens are minted from it.
  bool serving = false;
  SignalRelay* relay = nullptr;
  const auto child_lives = [&] { return !serving || relay->child_lives(); };
  broker::SessionState state(id, opened.generation, broker::Lease(request.ttl, request.max_lifetime, child_lives),
                             std::move(opened.grants), audit::Segment::create(request.open.paths.audit(), hex(id)));
  state.segment().write(audit::SessionBegan{request.open.agent, credentials, kIsolation, opened.tpm});

  // 5. The broker listens.
  broker::Broker broker(reactor, state);
  control.begin(state, broker);

  // 6. The child's environment.
  const Environment environment = environment_for(request, state, broker);
  for (const auto& name : environment.removed) {
    log::warning(name + " held a granted key: it is not passed on");
  }

  // 7. Confining the broker comes with the isolation levels.

  // 8. The child.
  if (!request.quiet) {
    const std::string line = session_line(registration.name(), opened.tpm, credentials, request.max_lifetime);
    std::fputs(line.c_str(), stderr);
  }
  SignalRelay::block();
  if (const int code = launcher.start(environment.entries); code != 0) {
    state.segment().write(audit::SessionEnded{"the command cannot be run"});
    return report_failed_start(request.command.front(), code);
  }

  // 9. Signals go to the child, its end comes back.
  int status = 0;
  SignalRelay signals(reactor, launcher.pid(), [&](int exit_status) {
    status = exit_status;
    state.lease().end();
    reactor.stop();
  });
  relay = &signals;
  serving = true;
  reactor.run();

  // 10. The tokens are dead with the lease; the child's own status is ours.
  state.segment().write(audit::SessionEnded{"the child ended with status " + std::to_string(status)});
  state.segment().sync();
  return status;
}

}  // namespace agentvault::session
