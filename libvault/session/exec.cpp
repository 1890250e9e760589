#include "session/exec.hpp"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/installed_group.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "broker/broker.hpp"
#include "net/outer_proxy.hpp"
#include "sandbox/broker_confinement.hpp"
#include "session/budgets.hpp"
#include "session/client_files.hpp"
#include "session/environment.hpp"
#include "session/isolation.hpp"
#include "session/notifier.hpp"
#include "session/publisher.hpp"
#include "session/registry.hpp"
#include "session/session_control.hpp"
#include "session/signals.hpp"
#include "session/terminal_relay.hpp"
#include "session/terms.hpp"
#include "session/throw_away_folder.hpp"

namespace agentvault::session {
namespace {

constexpr std::size_t kSessionIdSize = 8;
constexpr const char* kLoopback = "127.0.0.1";
constexpr int kMostRotations = 10;  // while the vault is opened

std::vector<std::string> names(const std::vector<broker::Grant>& grants) {
  std::vector<std::string> out;
  for (const auto& grant : grants) out.push_back(grant.name);
  return out;
}

std::string session_line(const std::string& id, const Terms& terms, const Governance& governance, sandbox::Level level,
                         const std::string& tpm, const std::vector<std::string>& credentials) {
  const std::string keeper = tpm.empty() ? "no vault" : tpm::TransportName::parse_stored(tpm).description();
  const char* promise = level == sandbox::Level::off ? " (nothing holds a hostile agent)" : "";
  return "agentvault: session " + id + " | isolation " + std::string(name_of(level)) + promise + " | " + keeper +
         " | policy " + printable(governance.source()) + " | egress " + printable(terms.egress.text()) +
         " | credentials " + (credentials.empty() ? "none" : printable(join(credentials, ", "))) + " | at most " +
         format_duration(terms.max_lifetime) + "\n";
}

std::uint64_t unix_seconds_after(std::chrono::seconds delay) {
  const auto then = std::chrono::system_clock::now().time_since_epoch() + delay;
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(then).count());
}

token::Token mint(broker::SessionState& state, std::vector<token::Caveat> caveats, std::chrono::seconds lifetime) {
  caveats.emplace_back(token::NotAfter{unix_seconds_after(lifetime)});
  return state.mint(std::move(caveats));
}

/// The proxy that exec was started with, for what the broker dials.
std::optional<net::OuterProxy> outer_proxy() {
  return net::OuterProxy::from_environment([](const char* name) { return std::getenv(name); });
}

Environment environment_for(const ExecRequest& request, const Terms& terms, broker::SessionState& state,
                            const broker::Broker& broker, const ClientFiles& files, const token::Token& proxy_token) {
  EnvironmentRequest wanted;
  wanted.inherited = request.environment;
  wanted.program = std::filesystem::path(request.command.front()).filename();
  wanted.grants = &state.grants();
  wanted.authority = broker.authority();
  wanted.tokenless_proxy_port = broker.tokenless_proxy_port();
  wanted.session = hex(state.id());
  wanted.files = &files;
  wanted.mint = [&](const std::string& name) {
    return encode(mint(state, {token::Credential{name}}, terms.max_lifetime));
  };
  wanted.widest_token = encode(mint(state, {}, terms.max_lifetime));
  wanted.proxy_token = encode(proxy_token);
  wanted.holds_secret = [&](std::string_view value) { return broker.holds_secret(value); };
  wanted.kept = terms.keeps;
  return build_environment(wanted);
}

std::string held_back_line(const std::vector<std::string>& names) {
  return join(names, ", ") + (names.size() == 1 ? " looks like a key and is" : " look like keys and are") +
         " not passed on (--keep " + names.front() + " does; \"agentvault add\" stores it)";
}

/// Of a system-wide installation the agent does not even reach the folder that the vault's is in.
std::filesystem::path hidden_folder(const ExecRequest& request) {
  const auto folder = request.open.paths.shown();
  return InstalledGroup::in_use() && !request.taken ? folder.parent_path() : folder;
}

/// What of the files on this machine is the agent's business.
sandbox::CellRequest cell_for(const ExecRequest& request, const Terms& terms) {
  sandbox::CellRequest cell;
  cell.command = request.command;
  cell.umask = request.child_umask;
  std::error_code gone;
  cell.files.working_directory = std::filesystem::current_path(gone);
  cell.files.home = variable(request.environment, "HOME");
  cell.files.command = request.command;
  if (!request.taken) cell.files.vault_as_named = request.open.paths.named;
  cell.files.search_path = variable(request.environment, "PATH");
  cell.files.hide = {hidden_folder(request)};
  cell.files.write = terms.writes;
  cell.files.share = terms.shares;
  for (const auto& reach : terms.reaches) {
    if (reach.host == kLoopback) cell.reached_ports.push_back(*reach.port);
  }
  return cell;
}

broker::Entrances entrances_of(const Terms& terms, Isolation& isolation) {
  using Guests = broker::Entrances::Guests;
  broker::Entrances entrances;
  if (isolation.level != sandbox::Level::strict) {
    entrances = broker::Entrances::on_loopback();
    if (isolation.level == sandbox::Level::standard) {
      entrances.guests = Guests::announced;
      entrances.announcements = isolation.cell->take_announcements();
    }
    return entrances;
  }
  auto doors = isolation.cell->take_doors();
  entrances.guests = Guests::this_namespace;
  entrances.main = std::move(doors.main);
  entrances.tokenless = std::move(doors.tokenless);
  entrances.names = std::move(doors.names);
  entrances.diverted = std::move(doors.by_port);
  if (doors.redirected) entrances.diverted.push_back(std::move(doors.redirected));
  auto next = doors.reached.begin();
  for (const auto& reach : terms.reaches) {
    if (reach.host != kLoopback || next == doors.reached.end()) continue;
    entrances.reached.push_back({std::move(*next++), {reach.host, *reach.port, false, "", true}});
  }
  return entrances;
}

/// Where clients will look for the session's certificates: where the vault is hidden, inside.
std::pair<std::filesystem::path, std::string> place_of_client_files(const ExecRequest& request, sandbox::Level level,
                                                                    const std::string& session,
                                                                    const std::optional<ThrowAwayFolder>& apart) {
  if (level == sandbox::Level::strict) return {sandbox::kSessionFolder, ""};
  if (apart) return {apart->path(), ""};
  return {request.open.paths.sessions(), session};
}

sandbox::Furnishing furnishing_for(const Terms& terms, sandbox::Level level, const Environment& environment,
                                   const ClientFiles& files, const net::SessionCa& ca, const broker::Broker& broker) {
  sandbox::Furnishing out;
  out.environment = environment.entries;
  for (const auto& file : files.list()) {
    if (level == sandbox::Level::standard) out.readable_files.push_back(file.path);
    if (level == sandbox::Level::strict) out.files.push_back({file.path.filename(), file.contents});
  }
  const auto name = [](const std::string& path) { return std::filesystem::path(path).filename().string(); };
  out.roots = {name(files.bundle()), name(files.ca()), name(files.java_truststore()), ca.file_name()};
  if (level != sandbox::Level::standard) return out;
  out.broker_ports = {broker.port(), broker.tokenless_proxy_port()};
  out.without_token = {broker.tokenless_proxy_port()};
  for (const auto& reach : terms.reaches) {
    if (reach.host == kLoopback) out.other_ports.push_back(*reach.port);
  }
  return out;
}

/// What the broker still does with files once it is confined.
sandbox::BrokerNeeds needs_of(const ExecRequest& request, const std::optional<ThrowAwayFolder>& apart) {
  const auto& paths = request.open.paths;
  sandbox::BrokerNeeds needs;
  needs.removes_files_in = {paths.sessions()};
  if (request.taken) {
    needs.removes_files_in = {paths.directory};
    needs.removes_folders_in = {paths.directory.parent_path()};
  }
  if (apart) {
    needs.removes_files_in.push_back(apart->path());
    needs.removes_folders_in.push_back(apart->path().parent_path());
  }
  for (const char* name : {"SSL_CERT_FILE", "SSL_CERT_DIR"}) {
    if (const auto path = variable(request.environment, name); !path.empty()) needs.reads.emplace_back(path);
  }
  return needs;
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

/// The opener hands over what is granted, and is gone; or there is no vault.
Opened open_vault(ExecRequest& request, net::Reactor& reactor, SessionControl& control) {
  if (request.taken) {
    Opened opened;
    opened.grants = std::move(*request.taken);
    return opened;
  }
  const auto wait = [&](int channel) {
    const Readable readable(reactor, channel);
    reactor.run();
    return !control.stopped() && !control.rotated();
  };
  for (int tries = 0;; ++tries) {
    try {
      return open_in_a_process_of_its_own(request.open, wait);
    } catch (const Error&) {
      if (control.stopped() || !control.take_rotation() || tries == kMostRotations) throw;
    }
  }
}

bool asks_people(const Governance& governance) {
  if (!governance.agent) return false;
  const auto& rules = governance.agent->rules;
  return std::any_of(rules.begin(), rules.end(), [](const policy::Rule& rule) {
    return rule.effect == policy::Effect::approve || rule.approve_when;
  });
}

Governance unverified_governance(ExecRequest& request) {
  std::error_code gone;
  request.open.folder = std::filesystem::current_path(gone);
  if (request.taken) {
    request.open.paths.check_directory();
    return governance_of({}, request.open.agent, request.open.folder);
  }
  request.open.paths.check();
  const auto policies = store::Database::open(request.open.paths.database()).newest().policies;
  const auto remark = remark_on_policy_file(request.open.folder, request.open.agent, policies);
  if (!remark.empty()) log::warning(remark);
  return governance_of(policies, request.open.agent, request.open.folder);
}

}  // namespace

int report_failed_start(const std::string& command, int code) {
  const bool missing = code == ENOENT;
  std::fprintf(stderr, "agentvault: error: cannot run %s: %s\nhint: %s\n", printable(command).c_str(),
               std::generic_category().message(code).c_str(),
               missing ? "is it installed, and in PATH?" : "is it executable?");
  return missing ? 127 : 126;
}

int run_exec(ExecRequest request) {
  // 1. What the agent will run in, before anything is unsealed: it inherits no secret. What the policy says of it is
  // read before it can be verified; step 3 makes sure that it was the truth.
  const Governance governance = unverified_governance(request);
  const Terms terms = terms_of(request, governance);
  Notifier notifier(asks_people(governance));
  std::optional<TerminalRelay> terminal;  // outlives the agent, whose last words it shows
  Isolation isolation = isolate(cell_for(request, terms), terms.isolation);
  const auto level = isolation.level;
  const std::string level_name(name_of(level));
  if (auto end = isolation.cell->take_terminal()) terminal.emplace(std::move(end));
  if (!isolation.note.empty()) log::warning(isolation.note + ": this session runs at standard");
  if (!request.quiet) {
    for (const auto& note : isolation.cell->notes()) log::warning(note);
  }
  if (request.verbose) {
    for (const auto& line : isolation.cell->summary()) std::fprintf(stderr, "agentvault: %s\n", line.c_str());
  }
  if (!isolation.cell->working_directory_writable()) {
    log::warning(
        "this folder is no project (a home, the system, configuration): the agent cannot write here; start in "
        "one, or name folders with --write");
  }
  harden_process();

  // 2. The session is registered, and can be stopped, before its opener reads the vault: a stop cannot miss it.
  const Bytes id = random_bytes(kSessionIdSize);
  request.open.session = id;
  auto proxy = outer_proxy();
  Registration registration(request.open.paths, id);
  sweep_dead_sessions(request.open.paths);
  net::Reactor reactor;
  const std::string program = std::filesystem::path(request.command.front()).filename().string();
  SessionControl control(reactor, registration.control_socket(),
                         {registration.name(),
                          ::getpid(),
                          request.open.agent,
                          {},
                          level_name,
                          program,
                          static_cast<std::int64_t>(unix_seconds_after(std::chrono::seconds(0))),
                          0});

  // 3. What is granted.
  Opened opened = open_vault(request, reactor, control);
  if (!(opened.governance == governance)) {
    throw Error(ErrorKind::failed, "the policy changed while the session was starting", "try again");
  }
  const auto credentials = names(opened.grants);
  control.status().credentials = credentials;

  // 4. The session's own key; its tokens are minted from it.
  bool serving = false;
  SignalRelay* relay = nullptr;
  const auto child_lives = [&] { return !serving || relay->agent_lives(); };
  broker::SessionState state(id, opened.generation, broker::Lease(terms.ttl, terms.max_lifetime, child_lives),
                             std::move(opened.grants), audit::Segment::create(request.open.paths.audit(), hex(id)));
  if (!request.taken) prepare_budgets(state, request.open, std::move(opened.budget_key));
  state.govern(governance.agent, governance.source());
  if (request.plan) state.plans().add({}, std::move(*request.plan));
  InstalledGroup::give_up();  // what this process still does in the vault's folder it does through a descriptor
  state.set_can_ask(level != sandbox::Level::off);
  state.segment().write(audit::SessionBegan{request.open.agent, credentials, level_name, opened.tpm});

  // 5. The broker listens.
  net::SessionCa ca("agentvault session " + registration.name(), terms.max_lifetime);
  const token::Token proxy_token = mint(state, {token::Credential{""}}, terms.max_lifetime);
  broker::Broker broker(reactor, state, ca,
                        {entrances_of(terms, isolation), terms.egress, std::move(proxy), proxy_token});
  broker.approvals().on_question([&](std::size_t waiting) { notifier.say(waiting); });
  control.begin(
      state, broker,
      {std::move(opened.announcement_key), opened.version, [&](const std::vector<store::PolicyRow>& policies) {
         const auto news = governance_of(policies, request.open.agent, request.open.folder);
         state.govern(news.agent, news.source());
         broker.set_egress(egress_of(request, news, terms.reaches));
       }});

  // 6. The child's environment, and the files that it names.
  // Of a vault that no agent can reach into they would be out of reach, too.
  std::optional<ThrowAwayFolder> apart;
  if (InstalledGroup::in_use() && !request.taken && level != sandbox::Level::strict) apart.emplace();
  const auto [folder, stem] = place_of_client_files(request, level, registration.name(), apart);
  ClientFiles files(folder, stem, ca, [&](const char* name) { return variable(request.environment, name); });
  if (level != sandbox::Level::strict) files.write();
  const Environment environment = environment_for(request, terms, state, broker, files, proxy_token);
  for (const auto& name : environment.removed) {
    log::warning(name + " held a granted key: it is not passed on");
  }
  if (!environment.held_back.empty() && !request.quiet) log::warning(held_back_line(environment.held_back));

  // Without a network of its own, a server of the agent is on this machine's anyway.
  Publisher publisher(reactor, *isolation.cell,
                      level == sandbox::Level::strict ? terms.publishes : std::vector<std::uint16_t>());

  // 7. From here on hostile bytes come in: this process gives up what it does not need.
  sandbox::confine_broker(needs_of(request, apart));

  // 8. The agent.
  if (!request.quiet) {
    const std::string line = session_line(registration.name(), terms, governance, level, opened.tpm, credentials);
    std::fputs(line.c_str(), stderr);
  }
  SignalRelay::block();
  auto furnishing = furnishing_for(terms, level, environment, files, ca, broker);
  furnishing.in_front = !terminal || terminal->starts_in_front();
  if (const int code = isolation.cell->enter(furnishing); code != 0) {
    state.segment().write(audit::SessionEnded{"the command cannot be run"});
    return report_failed_start(request.command.front(), code);
  }

  if (terminal) terminal->begin();

  // 9. Signals go to the child, its end comes back.
  int status = 0;
  std::optional<SignalRelay> signals;
  signals.emplace(
      reactor, *isolation.cell, terminal ? &*terminal : nullptr,
      [&](int exit_status) {
        status = exit_status;
        state.lease().end();
        reactor.stop();
      },
      [&](UniqueFd connection) { publisher.connected(std::move(connection)); });
  relay = &*signals;
  serving = true;
  reactor.run();

  // 10. The tokens are dead with the lease; the child's own status is ours.
  broker.end();
  state.segment().write(audit::SessionEnded{"the child ended with status " + std::to_string(status)});
  state.segment().sync();

  // 11. The terminal is the person's again, who may have something to look at.
  serving = false;
  signals.reset();
  terminal.reset();
  if (!request.quiet) {
    for (const auto& note : isolation.cell->last_notes()) log::warning(note);
  }
  return status;
}

}  // namespace agentvault::session
