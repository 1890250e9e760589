#include "sandbox/syscall_filter.hpp"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <vector>

#include "base/error.hpp"
#include "sandbox/attribute_supervisor.hpp"
#include "sandbox/creation_supervisor.hpp"
#include "sandbox/landlock.hpp"

namespace agentvault::sandbox {
namespace {

constexpr unsigned kMultipathTcp = 262;         // IPPROTO_MPTCP
constexpr unsigned kNewTimeNamespace = 0x80;    // CLONE_NEWTIME
constexpr unsigned kFastOpen = 0x20000000;      // MSG_FASTOPEN: a connection without connect()
constexpr unsigned kTypeMask = 0xf;             // of a socket's type, without SOCK_CLOEXEC and SOCK_NONBLOCK
constexpr unsigned kPushCharacter = 0x5412;     // TIOCSTI
constexpr unsigned kConsoleSelection = 0x541c;  // TIOCLINUX
constexpr std::uint64_t kCreates = O_CREAT;
constexpr std::uint64_t kCreatesNameless = O_TMPFILE & ~O_DIRECTORY;
constexpr unsigned kSetLease = 1024;      // F_SETLEASE: others would wait for it
constexpr unsigned kWatchFolder = 1026;   // F_NOTIFY
constexpr std::uint64_t kOneProcess = 1;  // IOPRIO_WHO_PROCESS
constexpr int kAbiWithTruncate = 3;       // of Landlock

constexpr std::uint64_t kSpaces[]{CLONE_NEWUSER, CLONE_NEWNS,  CLONE_NEWNET,    CLONE_NEWPID,
                                  CLONE_NEWIPC,  CLONE_NEWUTS, CLONE_NEWCGROUP, kNewTimeNamespace};
constexpr std::uint64_t kInternet[]{AF_INET, AF_INET6};
constexpr std::uint64_t kForBroker[]{AF_INET, AF_INET6, AF_NETLINK};
constexpr std::uint64_t kPathDatagrams[]{SOCK_DGRAM, SOCK_RAW};
constexpr std::uint64_t kNotStreams[]{SOCK_DGRAM, SOCK_SEQPACKET, SOCK_DCCP};

// seccomp(2); the system's headers may be older than the flag.
constexpr unsigned kSetFilter = 1;
constexpr unsigned kNewListener = 1U << 3;
constexpr unsigned kWaitKillable = 1U << 5;
constexpr std::size_t kMaxFilter = 65536;

// The calls that were judged for agents, by number: up to file_setattr(2) of Linux 6.17. Below 424 each kind of machine
// has its own numbers, and a gap behind them; from there on they are the same everywhere. A call beyond them is unknown
// to the agent until somebody has judged it (tests/system/test_isolation.py tells when a kernel has one).
constexpr std::uint32_t kNewestJudged = 469;
constexpr std::uint32_t kFirstCommon = 424;
#if defined(__x86_64__)
constexpr std::uint32_t kLastOwn = 334;  // rseq; 335 and 336 are uretprobe and uprobe
#else
constexpr std::uint32_t kLastOwn = 294;  // kexec_file_load
#endif
/// Of those, what is refused; the library does not know all of them by name.
enum CommonNumber : int {
  kFchmodat2 = 452,
  kStatmount = 457,
  kListmount = 458,
  kLsmSetSelfAttr = 460,
  kSetxattrat = 463,
  kRemovexattrat = 466,
  kOpenTreeAttr = 467,
  kFileSetattr = 469,
};

// Letters of ioctl() requests that file systems answer (Documentation/userspace-api/ioctl/ioctl-number.rst): ext4 and
// what all have, XFS, versions, f2fs, ocfs2.
constexpr std::uint64_t kFileSystemLetters[]{'f', 'X', 'v', 0xf5, 'o'};
constexpr std::uint64_t kLetter = 0xff00;
constexpr std::uint64_t kBtrfs = 0x94;

/// In front of a filter that knows the calls below.
Bytes with_unjudged_unknown(const Bytes& program) {
  constexpr std::uint32_t unknown = SECCOMP_RET_ERRNO | ENOSYS;
  constexpr std::uint32_t number = offsetof(seccomp_data, nr);
  const sock_filter steps[]{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, number),
                            BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, kNewestJudged, 2, 0),
                            BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kFirstCommon, 2, 0),
                            BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, kLastOwn, 0, 1), BPF_STMT(BPF_RET | BPF_K, unknown)};
  Bytes out(sizeof steps + program.size());
  std::memcpy(out.data(), steps, sizeof steps);
  std::memcpy(out.data() + sizeof steps, program.data(), program.size());
  return out;
}

class Filter {
 public:
  explicit Filter(std::uint32_t otherwise) : context_(seccomp_init(otherwise), seccomp_release) {
    if (context_ == nullptr) throw Error(ErrorKind::failed, "cannot make a filter for system calls");
    check(seccomp_attr_set(context_.get(), SCMP_FLTATR_CTL_NNP, 1));
  }

  using Conditions = std::initializer_list<scmp_arg_cmp>;

  void answer(std::uint32_t action, int call, Conditions conditions = {}) {
    // Below zero: a call that this kind of machine does not have.
    if (call < 0) return;
    check(seccomp_rule_add_array(context_.get(), action, call, static_cast<unsigned>(conditions.size()),
                                 conditions.begin()));
  }
  void answer(std::uint32_t action, std::initializer_list<const char*> calls) {
    for (const char* name : calls) {
      const int call = seccomp_syscall_resolve_name(name);
      if (call != __NR_SCMP_ERROR) answer(action, call);  // one that this library does not know yet
    }
  }
  void enforce() { check(seccomp_load(context_.get())); }
  /// As the kernel takes it.
  Bytes program() const {
    const UniqueFd file(::memfd_create("filter", MFD_CLOEXEC));
    if (!file) throw_errno("write a filter for system calls");
    check(seccomp_export_bpf(context_.get(), file.get()));
    if (::lseek(file.get(), 0, SEEK_SET) != 0) throw_errno("read a filter for system calls");
    Bytes code(kMaxFilter);
    code.resize(read_up_to(file.get(), code, "a filter for system calls"));
    return code;
  }

 private:
  static void check(int result) {
    if (result == 0) return;
    errno = -result;
    throw_errno("filter system calls");
  }
  std::unique_ptr<void, decltype(&seccomp_release)> context_;
};

constexpr scmp_arg_cmp equals(unsigned argument, std::uint64_t value) {
  return {argument, SCMP_CMP_EQ, value, 0};
}
constexpr scmp_arg_cmp differs(unsigned argument, std::uint64_t value) {
  return {argument, SCMP_CMP_NE, value, 0};
}
constexpr scmp_arg_cmp masked(unsigned argument, std::uint64_t mask, std::uint64_t value) {
  return {argument, SCMP_CMP_MASKED_EQ, mask, value};
}

/// Only the low 32 bits of most arguments count for the kernel: what stands above must not hide anything.
constexpr std::uint64_t kLow = 0xffffffff;

void deny_for_agents(Filter& filter) {
  const std::uint32_t denied = SCMP_ACT_ERRNO(EPERM);
  // As on a kernel without them: programs have another way.
  filter.answer(SCMP_ACT_ERRNO(ENOSYS),
                {"io_uring_setup", "io_uring_enter", "io_uring_register", "clone3", "memfd_secret"});
  filter.answer(denied,
                {// other processes
                 "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp",
                 "perf_event_open", "bpf", "userfaultfd",
                 // keys of the kernel's own key rings
                 "keyctl", "add_key", "request_key",
                 // what is mounted where
                 "mount", "umount", "umount2", "pivot_root", "chroot", "setns", "move_mount", "open_tree", "fsopen",
                 "fsconfig", "fsmount", "fspick", "mount_setattr",
                 // files by number
                 "name_to_handle_at", "open_by_handle_at",
                 // the machine
                 "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "swapon", "swapoff",
                 "reboot", "acct", "quotactl", "quotactl_fd", "iopl", "ioperm", "lookup_dcookie", "syslog",
                 "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "move_pages", "migrate_pages", "vhangup",
                 "sethostname", "setdomainname", "fanotify_init"});
  for (const int call : {kStatmount, kListmount, kOpenTreeAttr, kLsmSetSelfAttr}) filter.answer(denied, call);
  // New spellings of chmod(), setxattr() and others: programs have the old ones.
  for (const int call : {kFchmodat2, kSetxattrat, kRemovexattrat, kFileSetattr}) {
    filter.answer(SCMP_ACT_ERRNO(ENOSYS), call);
  }
  for (const std::uint64_t command : {kSetLease, kWatchFolder}) {
    filter.answer(denied, SCMP_SYS(fcntl), {masked(1, kLow, command)});
  }
  for (const auto space : kSpaces) {
    filter.answer(denied, SCMP_SYS(unshare), {masked(0, space, space)});
    // Of clone() the low byte is the signal at its end, not the time namespace.
    if (space != kNewTimeNamespace) filter.answer(denied, SCMP_SYS(clone), {masked(0, space, space)});
  }
  for (const std::uint64_t request : {kPushCharacter, kConsoleSelection}) {
    filter.answer(denied, SCMP_SYS(ioctl), {masked(1, kLow, request)});
  }
  // Its flags lie in memory, where a filter does not look; programs have openat().
  filter.answer(SCMP_ACT_ERRNO(ENOSYS), {"openat2"});
  // Its own limits only.
  filter.answer(denied, SCMP_SYS(prlimit64), {differs(0, 0)});
}

/// Programs that run as whoever owns them, for others of this machine to start: none is made.
void deny_new_set_uid_programs(Filter& filter) {
  const std::uint32_t denied = SCMP_ACT_ERRNO(EPERM);
  for (const std::uint64_t bit : {04000U, 02000U}) {
    filter.answer(denied, SCMP_SYS(mknodat), {masked(2, bit, bit)});
    filter.answer(denied, SCMP_SYS(mknod), {masked(1, bit, bit)});
    filter.answer(denied, SCMP_SYS(creat), {masked(1, bit, bit)});
    filter.answer(denied, SCMP_SYS(open), {masked(1, kCreates, kCreates), masked(2, bit, bit)});
    filter.answer(denied, SCMP_SYS(openat), {masked(2, kCreates, kCreates), masked(3, bit, bit)});
  }
}

void deny_nameless_set_uid_programs(Filter& filter) {
  const std::uint32_t denied = SCMP_ACT_ERRNO(EPERM);
  for (const std::uint64_t bit : {04000U, 02000U}) {
    filter.answer(denied, SCMP_SYS(open), {masked(1, kCreatesNameless, kCreatesNameless), masked(2, bit, bit)});
    filter.answer(denied, SCMP_SYS(openat), {masked(2, kCreatesNameless, kCreatesNameless), masked(3, bit, bit)});
  }
}

/// The supervisor denies set-uid programs, too.
void supervise_creation(Filter& filter) {
  for (const int call : CreationSupervisor::calls()) {
    if (call == SCMP_SYS(open)) {
      filter.answer(SCMP_ACT_NOTIFY, call, {masked(1, kCreates, kCreates)});
    } else if (call == SCMP_SYS(openat)) {
      filter.answer(SCMP_ACT_NOTIFY, call, {masked(2, kCreates, kCreates)});
    } else {
      filter.answer(SCMP_ACT_NOTIFY, call);
    }
  }
}

/// Nor does one become such a program.
void deny_set_uid_programs(Filter& filter) {
  for (const std::uint64_t bit : {04000U, 02000U}) {
    filter.answer(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(chmod), {masked(1, bit, bit)});
    filter.answer(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(fchmod), {masked(1, bit, bit)});
    filter.answer(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(fchmodat), {masked(2, bit, bit)});
  }
}

void supervise_attributes(Filter& filter) {
  for (const int call : AttributeSupervisor::calls()) filter.answer(SCMP_ACT_NOTIFY, call);
  // Flags of files, snapshots and the like: as on a file system without them.
  const std::uint32_t unknown = SCMP_ACT_ERRNO(ENOTTY);
  for (const auto letter : kFileSystemLetters) {
    filter.answer(unknown, SCMP_SYS(ioctl), {masked(1, kLetter, letter << 8)});
  }
  // All of btrfs' but FICLONE (9) and FICLONERANGE (13), which copy: these are the numbers with the bits 00001x01.
  for (const unsigned bit : {0x02U, 0x10U, 0x20U, 0x40U, 0x80U}) {
    filter.answer(unknown, SCMP_SYS(ioctl), {masked(1, kLetter | bit, kBtrfs << 8 | bit)});
  }
  for (const unsigned bit : {0x01U, 0x08U}) {
    filter.answer(unknown, SCMP_SYS(ioctl), {masked(1, kLetter | bit, kBtrfs << 8)});
  }
}

void deny_sockets(Filter& filter) {
  const std::uint32_t unknown = SCMP_ACT_ERRNO(EAFNOSUPPORT);
  for (const int call : {SCMP_SYS(socket), SCMP_SYS(socketpair)}) {
    for (unsigned family = 0; family <= AF_NETLINK; ++family) {
      if (family == AF_UNIX || family == AF_INET || family == AF_INET6 || family == AF_NETLINK) continue;
      filter.answer(unknown, call, {masked(0, kLow, family)});
    }
    filter.answer(unknown, call, {{0, SCMP_CMP_GT, AF_NETLINK, 0}});
  }
  // From a datagram socket one can send to any path, without connect(); a raw one is the same.
  for (const int call : {SCMP_SYS(socket), SCMP_SYS(socketpair)}) {
    for (const auto type : kPathDatagrams) {
      filter.answer(SCMP_ACT_ERRNO(EPERM), call, {masked(0, kLow, AF_UNIX), masked(1, kTypeMask, type)});
    }
  }
  filter.answer(unknown, SCMP_SYS(socket), {masked(0, kLow, AF_NETLINK), differs(2, NETLINK_ROUTE)});
  for (const auto family : kInternet) {
    filter.answer(SCMP_ACT_ERRNO(EPROTONOSUPPORT), SCMP_SYS(socket),
                  {masked(0, kLow, family), masked(2, kLow, kMultipathTcp)});
    filter.answer(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), {masked(0, kLow, family), masked(1, kTypeMask, SOCK_RAW)});
  }
  for (const int call : {SCMP_SYS(sendto), SCMP_SYS(sendmmsg)}) {
    filter.answer(SCMP_ACT_ERRNO(EOPNOTSUPP), call, {masked(3, kFastOpen, kFastOpen)});
  }
  filter.answer(SCMP_ACT_ERRNO(EOPNOTSUPP), SCMP_SYS(sendmsg), {masked(2, kFastOpen, kFastOpen)});
}

void deny_without_namespaces(Filter& filter) {
  filter.answer(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), {masked(0, kLow, AF_UNIX)});
  for (const auto family : kInternet) {
    for (const auto type : kNotStreams) {
      filter.answer(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), {masked(0, kLow, family), masked(1, kTypeMask, type)});
    }
    // Others have ways to connect besides connect(): SCTP by a socket option.
    for (std::uint64_t protocol = 1; protocol < IPPROTO_TCP; ++protocol) {
      filter.answer(SCMP_ACT_ERRNO(EPROTONOSUPPORT), SCMP_SYS(socket),
                    {masked(0, kLow, family), masked(2, kLow, protocol)});
    }
    filter.answer(SCMP_ACT_ERRNO(EPROTONOSUPPORT), SCMP_SYS(socket),
                  {masked(0, kLow, family), {2, SCMP_CMP_GT, IPPROTO_TCP, 0}});
  }
  // Only itself: others could be slowed down.
  filter.answer(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(setpriority), {differs(0, PRIO_PROCESS)});
  filter.answer(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioprio_set), {differs(0, kOneProcess)});
  for (const int call : {SCMP_SYS(setpriority), SCMP_SYS(ioprio_set)}) {
    filter.answer(SCMP_ACT_ERRNO(EPERM), call, {differs(1, 0)});
  }
  for (const int call :
       {SCMP_SYS(sched_setaffinity), SCMP_SYS(sched_setscheduler), SCMP_SYS(sched_setparam), SCMP_SYS(sched_setattr)}) {
    filter.answer(SCMP_ACT_ERRNO(EPERM), call, {differs(0, 0)});
  }
  // Memory and messages of others, for which no file stands.
  filter.answer(SCMP_ACT_ERRNO(EPERM), {"shmget", "shmat", "semget", "msgget", "mq_open", "mq_unlink"});
  filter.answer(SCMP_ACT_NOTIFY, SCMP_SYS(listen));
  // Before Landlock knew it, a file could be emptied that could not be written.
  if (landlock_abi() < kAbiWithTruncate) filter.answer(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(truncate));
}

}  // namespace

AgentFilter::AgentFilter(Walls walls) {
  Filter filter(SCMP_ACT_ALLOW);
  deny_for_agents(filter);
  deny_sockets(filter);
  if (!walls.namespaces) deny_without_namespaces(filter);
  if (walls.foreign_files) {
    supervise_attributes(filter);
  } else {
    deny_set_uid_programs(filter);
  }
  deny_nameless_set_uid_programs(filter);
  if (walls.reserved_names) {
    supervise_creation(filter);
  } else {
    deny_new_set_uid_programs(filter);
  }
  filter.answer(SCMP_ACT_NOTIFY, SCMP_SYS(connect));
  program_ = with_unjudged_unknown(filter.program());
}

UniqueFd AgentFilter::enforce() const {
  std::vector<sock_filter> steps(program_.size() / sizeof(sock_filter));
  std::memcpy(steps.data(), program_.data(), steps.size() * sizeof(sock_filter));
  const sock_fprog program{static_cast<unsigned short>(steps.size()), steps.data()};
  // What is decided is waited for: a signal would have the call begin again that is under way (Linux 5.19).
  for (const unsigned flags : {kNewListener | kWaitKillable, kNewListener}) {
    UniqueFd listener(static_cast<int>(::syscall(SYS_seccomp, kSetFilter, flags, &program)));
    if (listener) return listener;
  }
  throw_errno("filter system calls");
}

void mark_sub_agent() {
  sock_filter allow[]{BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  const sock_fprog program{1, allow};
  if (::syscall(SYS_seccomp, kSetFilter, 0U, &program) != 0) throw_errno("mark a sub-agent");
}

void filter_broker() {
  // As on a kernel that does not have them: what a library tries first and can do without.
  Filter filter(SCMP_ACT_ERRNO(ENOSYS));
  filter.answer(SCMP_ACT_ALLOW,
                {// the loop
                 "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select",
                 "pselect6", "eventfd2", "timerfd_create", "timerfd_settime", "clock_gettime", "clock_getres",
                 "clock_nanosleep", "nanosleep", "gettimeofday", "time", "restart_syscall",
                 // connections; socket() below
                 "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "setsockopt",
                 "listen", "recvfrom", "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "shutdown",
                 // files, as far as Landlock lets it
                 "access", "close", "close_range", "dup", "faccessat", "faccessat2", "fcntl", "fdatasync", "flock",
                 "fstat", "fstatfs", "fsync", "getcwd", "getdents64", "lseek", "lstat", "newfstatat", "open", "openat",
                 "pread64", "pwrite64", "read", "readlink", "readlinkat", "readv", "rmdir", "stat", "statfs", "statx",
                 "uname", "unlink", "unlinkat", "write", "writev",
                 // memory
                 "brk", "madvise", "mincore", "mlock", "mlock2", "mmap", "mprotect", "mremap", "munlock", "munmap",
                 // itself
                 "exit", "exit_group", "futex", "get_robust_list", "getegid", "geteuid", "getgid", "getpgid", "getpgrp",
                 "getpid", "getppid", "getrandom", "getresgid", "getresuid", "getrlimit", "getrusage", "gettid",
                 "getuid", "membarrier", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigreturn",
                 "rt_sigtimedwait", "sched_getaffinity", "sched_yield", "set_robust_list", "sigaltstack", "signalfd4",
                 "sysinfo", "umask", "arch_prctl",
                 // the child
                 "pidfd_send_signal", "waitid", "wait4"});
  filter.answer(SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), {equals(0, 0)});
  filter.answer(SCMP_ACT_ALLOW, SCMP_SYS(ioctl), {masked(1, kLow, 0x5401)});  // TCGETS: is it a terminal?
  filter.answer(SCMP_ACT_ALLOW, SCMP_SYS(ioctl), {masked(1, kLow, 0x5421)});  // FIONBIO
  filter.answer(SCMP_ACT_ALLOW, SCMP_SYS(ioctl), {masked(1, kLow, 0x541b)});  // FIONREAD
  for (const int call : {SCMP_SYS(tgkill), SCMP_SYS(tkill), SCMP_SYS(kill)}) {
    filter.answer(SCMP_ACT_ALLOW, call, {equals(0, static_cast<std::uint64_t>(::getpid()))});
  }
  for (const auto family : kForBroker) {
    filter.answer(SCMP_ACT_ALLOW, SCMP_SYS(socket), {masked(0, kLow, family)});
  }
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  // Builds that look for faults of our own: their runtime looks for leaks from a thread that traces all others.
  filter.answer(SCMP_ACT_ALLOW, {"clone", "getdents", "clone3", "ptrace", "prctl", "process_vm_readv", "kill", "tgkill",
                                 "wait4", "personality", "pipe2", "pipe"});
#endif
  filter.enforce();
}

}  // namespace agentvault::sandbox
