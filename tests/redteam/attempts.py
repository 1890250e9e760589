"""What an agent tries to get out. Runs inside the session, as the agent; each attempt in a process of its own.

An attempt returns evidence that it succeeded, or raises. Reads one JSON object about the world from standard input, and
writes one line of JSON for each attempt: name, succeeded, what.
"""
import ctypes
import errno
import fcntl
import json
import mmap
import os
import platform
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
ATTEMPTS = []
LIMIT = 10


def attempt(group):
    def add(function):
        ATTEMPTS.append((group, function))
        return function
    return add


def check(result, what="call"):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def call(number, *arguments):
    return check(libc.syscall(ctypes.c_long(number), *[ctypes.c_ulong(a & (2**64 - 1)) if isinstance(a, int) else a for a in arguments]), f"syscall {number}")


def read(path, size=4096):
    with open(path, "rb") as file:
        data = file.read(size)
    if not data:
        raise OSError("empty")
    return data


def seen(data, marker):
    if marker.encode() not in data:
        raise OSError("the secret is not there")
    return "read " + marker


X86 = platform.machine() == "x86_64"
SYS = {"ptrace": 101, "process_vm_readv": 310, "pidfd_open": 434, "pidfd_getfd": 438, "clone": 56, "clone3": 435, "unshare": 272,
       "mount": 165, "umount2": 166, "add_key": 248, "keyctl": 250, "io_uring_setup": 425, "perf_event_open": 298, "bpf": 321,
       "userfaultfd": 323, "name_to_handle_at": 303, "open_by_handle_at": 304, "memfd_secret": 447, "kcmp": 312,
       "prlimit64": 302, "open_tree": 428, "setns": 308, "mknod": 133, "truncate": 76, "request_key": 249, "setpriority": 141}


# --- the broker, as a process

def broker_memory_area(world):
    for line in open(f"/proc/{world['broker']}/maps"):
        area, rights = line.split()[:2]
        if rights.startswith("rw"):
            return int(area.split("-")[0], 16)
    raise OSError("no memory area")


@attempt("broker process")
def broker_environ(w):
    return f"{len(read(f'/proc/{w.broker}/environ'))} bytes"


@attempt("broker process")
def broker_maps(w):
    return f"{len(read(f'/proc/{w.broker}/maps'))} bytes"


@attempt("broker process")
def broker_mem(w):
    with open(f"/proc/{w.broker}/mem", "rb", 0) as file:
        file.seek(broker_memory_area(w))
        return f"{len(file.read(64))} bytes"


@attempt("broker process")
def broker_mem_write(w):
    os.close(os.open(f"/proc/{w.broker}/mem", os.O_RDWR))
    return "opened for writing"


@attempt("broker process")
def broker_descriptors(w):
    return f"{len(os.listdir(f'/proc/{w.broker}/fd'))} descriptors"


@attempt("broker process")
def broker_root(w):
    return os.readlink(f"/proc/{w.broker}/root")


@attempt("broker process")
def broker_process_vm_readv(w):
    space = ctypes.create_string_buffer(64)
    here = struct.pack("QQ", ctypes.addressof(space), 64)
    there = struct.pack("QQ", broker_memory_area(w), 64)
    return f"{call(SYS['process_vm_readv'], w.broker, here, 1, there, 1, 0)} bytes"


@attempt("broker process")
def broker_ptrace_seize(w):
    call(SYS["ptrace"], 0x4206, w.broker, 0, 0)
    return "seized"


@attempt("broker process")
def broker_ptrace_attach(w):
    call(SYS["ptrace"], 16, w.broker, 0, 0)
    os.waitpid(w.broker, 0x40000000)
    call(SYS["ptrace"], 17, w.broker, 0, 0)
    return "attached"


@attempt("broker process")
def broker_pidfd_getfd(w):
    handle = call(SYS["pidfd_open"], w.broker, 0)
    return f"descriptor {call(SYS['pidfd_getfd'], handle, 0, 0)}"


@attempt("broker process")
def broker_from_an_orphan(w):
    reads, writes = os.pipe()
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            while os.getppid() == w.own:
                time.sleep(0.01)
            try:
                os.write(writes, str(len(read(f"/proc/{w.broker}/environ"))).encode())
            except OSError as error:
                os.write(writes, b"!" + str(error).encode())
        os._exit(0)
    os.close(writes)
    os.wait()
    answer = os.read(reads, 200).decode()
    if not answer or answer.startswith("!"):
        raise OSError(answer or "no answer")
    return answer + " bytes"


@attempt("broker process")
def broker_prlimit(w):
    old = ctypes.create_string_buffer(16)
    call(SYS["prlimit64"], w.broker, 7, 0, old)
    call(SYS["prlimit64"], w.broker, 7, old, 0)
    return "set"


@attempt("broker process")
def broker_setpriority(w):
    call(SYS["setpriority"], 0, w.broker, os.getpriority(os.PRIO_PROCESS, w.broker))
    return "set"


@attempt("broker process")
def broker_signal(w):
    os.kill(w.broker, signal.SIGURG)  # ignored by default: the session goes on
    return "sent"


@attempt("broker process")
def broker_kcmp(w):
    return str(call(SYS["kcmp"], w.own, w.broker, 2, 0, 0))


@attempt("other processes")
def victim_environ(w):
    return seen(read(f"/proc/{w.victim}/environ", 65536), w.victim_secret)


@attempt("other processes")
def victim_signal(w):
    os.kill(w.victim, 0)
    return "sent"


@attempt("other processes")
def victim_ptrace(w):
    call(SYS["ptrace"], 0x4206, w.victim, 0, 0)
    return "seized"


@attempt("other processes")
def victim_working_directory(w):
    return ",".join(os.listdir(f"/proc/{w.victim}/cwd"))[:60]


@attempt("other processes")
def victim_terminal(w):
    os.close(os.open(w.victim_terminal, os.O_RDWR | os.O_NOCTTY))
    return "opened"


@attempt("other processes")
def parent_environ(w):
    """Of the process that started this one."""
    return f"{len(read(f'/proc/{w.keeper}/environ', 65536))} bytes"


@attempt("other processes")
def inherited_descriptor(w):
    return seen(os.pread(207, 100, 0), w.descriptor_secret)


@attempt("other processes")
def kernel_key_ring(w):
    key = call(SYS["request_key"], b"user\0", (w.key_name + "\0").encode(), 0, 0)
    space = ctypes.create_string_buffer(64)
    call(SYS["keyctl"], 11, key, space, 64)
    return seen(space.raw, w.key_secret)


# --- files

@attempt("the vault")
def vault_read(w):
    return read(w.vault + "/vault.db", 16)[:15].decode()


@attempt("the vault")
def vault_write(w):
    os.close(os.open(w.vault + "/vault.db", os.O_WRONLY))
    return "opened"


@attempt("the vault")
def vault_list(w):
    names = os.listdir(w.vault)
    if "vault.db" not in names:
        raise OSError("empty")
    return ",".join(names)[:60]


@attempt("the vault")
def vault_hard_link(w):
    target = tempfile.mktemp(dir=".")
    os.link(w.vault + "/vault.db", target)
    data = read(target, 16)[:15].decode()
    os.unlink(target)
    return data


@attempt("the vault")
def vault_rename(w):
    os.rename(w.vault, w.vault + ".moved")
    os.rename(w.vault + ".moved", w.vault)
    return "moved"


@attempt("the vault")
def vault_by_link(w):
    link = tempfile.mktemp(dir=".")
    os.symlink(w.vault, link)
    try:
        return read(link + "/vault.db", 16)[:15].decode()
    finally:
        os.unlink(link)


@attempt("the vault")
def vault_by_own_root(w):
    return read("/proc/self/root" + w.vault + "/vault.db", 16)[:15].decode()


@attempt("the vault")
def vault_by_broker_root(w):
    return read(f"/proc/{w.broker}/root" + w.vault + "/vault.db", 16)[:15].decode()


@attempt("the vault")
def vault_by_broker_working_directory(w):
    return read(f"/proc/{w.broker}/cwd/" + os.path.relpath(w.vault, w.project) + "/vault.db", 16)[:15].decode()


@attempt("the vault")
def vault_chmod(w):
    """Its own mode is what it has already: what counts is what can be read then."""
    os.chmod(w.vault, 0o700)
    with open(w.vault + "/vault.db", "rb"):
        return "changed"


@attempt("the vault")
def vault_truncate(w):
    path = w.vault + "/redteam-marker"
    call(SYS["truncate"], (path + "\0").encode(), os.stat(path).st_size)
    return "truncated"


@attempt("the vault")
def vault_plant_file(w):
    path = w.vault + "/planted"
    with open(path, "w"):
        pass
    os.unlink(path)
    if not os.path.exists(w.vault + "/vault.db"):
        raise OSError("an empty folder instead")
    return "planted"


@attempt("the vault")
def vault_rename_ancestor(w):
    os.rename(w.home + "/.local", w.home + "/.moved")
    os.rename(w.home + "/.moved", w.home + "/.local")
    return "moved"


@attempt("the vault")
def vault_uncover(w):
    call(SYS["umount2"], (w.vault + "\0").encode(), 2)
    return "uncovered"


@attempt("the vault")
def vault_by_file_handle(w):
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + b"\0" * 128)
    mount_id = ctypes.c_int()
    call(SYS["name_to_handle_at"], -100, (w.vault + "/vault.db\0").encode(), handle, ctypes.byref(mount_id), 0)
    return read(f"/proc/self/fd/{call(SYS['open_by_handle_at'], os.open(w.home, os.O_RDONLY), handle, os.O_RDONLY)}", 16)[:15].decode()


@attempt("the vault")
def vault_through_the_program(w):
    done = subprocess.run([w.program, "list"], capture_output=True, text=True, env={**os.environ, "AGENTVAULT_HOME": w.vault}, timeout=LIMIT)
    if "redteam" not in done.stdout:
        raise OSError((done.stderr or "not there").splitlines()[0])
    return done.stdout.strip()[:60]


@attempt("the vault")
def vault_through_another_session(w):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AGENTVAULT")}
    done = subprocess.run([w.program, "--vault", w.vault, "exec", "-q", "--isolation", "off", "--", "echo", "in"], capture_output=True,
                          text=True, env=environment, timeout=LIMIT)
    if done.stdout != "in\n":
        raise OSError((done.stderr or "nothing").splitlines()[0])
    return "another session"


@attempt("the vault")
def control_socket(w):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(w.vault + "/sessions/" + w.session + ".sock")
        s.sendall(b'{"command":"status"}\n')
        return s.recv(1000).decode()[:60]


def appended(path):
    with open(path, "a"):
        return "opened for appending"


def created(path):
    existed = os.path.exists(path)
    with open(path, "a"):
        pass
    if not existed:
        os.unlink(path)
    return "created"


@attempt("what runs later, outside")
def shell_start_file(w):
    return appended(w.home + "/.bashrc")


@attempt("what runs later, outside")
def shadowed_program(w):
    return created(w.home + "/.local/bin/agentvault")


@attempt("what runs later, outside")
def user_service(w):
    return created(w.home + "/.config/systemd/user/redteam.service")


@attempt("what runs later, outside")
def autostart(w):
    return created(w.home + "/.config/autostart/redteam.desktop")


@attempt("what runs later, outside")
def authorized_keys(w):
    return created(w.home + "/.ssh/authorized_keys2") if os.path.exists(w.home + "/.ssh/id_redteam") else read("/nonexistent")


@attempt("what runs later, outside")
def git_hook(w):
    return created(w.project + "/.git/hooks/pre-commit")


@attempt("what runs later, outside")
def git_configuration(w):
    return appended(w.project + "/.git/config")


@attempt("what runs later, outside")
def git_folder_replaced(w):
    os.rename(w.project + "/.git", w.project + "/.git-moved")
    os.rename(w.project + "/.git-moved", w.project + "/.git")
    return "moved"


@attempt("what runs later, outside")
def editor_settings(w):
    return appended(w.project + "/.vscode/settings.json")


@attempt("what runs later, outside")
def direnv_file(w):
    return appended(w.project + "/.envrc")


@attempt("what runs later, outside")
def editor_settings_deeper(w):
    return appended(w.project + "/service/.vscode/tasks.json")


@attempt("what runs later, outside")
def missing_settings(w):
    return created(w.project + "/.devcontainer.json")


@attempt("what runs later, outside")
def missing_settings_by_name(w):
    with open(w.project + "/redteam.json", "w"):
        pass
    try:
        os.rename(w.project + "/redteam.json", w.project + "/.mcp.json")
        os.unlink(w.project + "/.mcp.json")
    finally:
        if os.path.exists(w.project + "/redteam.json"):
            os.unlink(w.project + "/redteam.json")
    return "renamed"


@attempt("what runs later, outside")
def missing_commands_of_git(w):
    folder = w.project + "/.git/rebase-merge"
    os.mkdir(folder)
    try:
        return created(folder + "/git-rebase-todo")
    finally:
        os.rmdir(folder)


@attempt("what runs later, outside")
def settings_of_another_agent(w):
    return appended(w.home + "/.codex/config.toml")


@attempt("what runs later, outside")
def hook_of_another_agent(w):
    return created(w.home + "/.claude/planted.sh")


@attempt("what runs later, outside")
def file_of_git_configuration(w):
    return appended(w.project + "/included.gitconfig")


@attempt("what runs later, outside")
def other_project(w):
    return created(w.home + "/other/planted.py")


@attempt("what runs later, outside")
def by_link_in_the_project(w):
    link = tempfile.mktemp(dir=".")
    os.symlink(w.home + "/.bashrc", link)
    try:
        return appended(link)
    finally:
        os.unlink(link)


@attempt("what runs later, outside")
def hard_link_into_the_project(w):
    link = tempfile.mktemp(dir=".")
    os.link(w.home + "/.bashrc", link)
    try:
        return appended(link)
    finally:
        os.unlink(link)


@attempt("what runs later, outside")
def start_file_truncated(w):
    path = w.home + "/.bashrc"
    call(SYS["truncate"], (path + "\0").encode(), os.stat(path).st_size)
    return "truncated"


@attempt("what runs later, outside")
def start_file_through_standard_input(w):
    """It is a file that was opened for reading only, before there were walls."""
    os.close(os.open("/proc/self/fd/208", os.O_RDWR) if w.level == "off" else os.open("/proc/self/fd/0", os.O_RDWR))
    return "opened for writing"


# --- modes, owners, attributes, times: each leaves the file as it was

def start_file(w):
    return (w.home + "/.bashrc\0").encode()


def opened_start_file(w):
    return os.open(w.home + "/.bashrc", os.O_RDONLY)


def mode_of(path):
    return os.stat(path).st_mode & 0o7777


@attempt("modes and attributes")
def vault_mode(w):
    os.chmod(w.vault, mode_of(w.vault))
    return "changed"


@attempt("modes and attributes")
def vault_database_mode(w):
    os.chmod(w.vault + "/vault.db", 0o600)
    return "changed"


@attempt("modes and attributes")
def start_file_mode(w):
    os.chmod(w.home + "/.bashrc", mode_of(w.home + "/.bashrc"))
    return "changed"


@attempt("modes and attributes")
def start_file_mode_by_descriptor(w):
    fd = opened_start_file(w)
    os.fchmod(fd, os.fstat(fd).st_mode & 0o7777)
    return "changed"


@attempt("modes and attributes")
def start_file_mode_by_link(w):
    link = tempfile.mktemp(dir=".")
    os.symlink(w.home + "/.bashrc", link)
    try:
        os.chmod(link, mode_of(link))
        return "changed"
    finally:
        os.unlink(link)


@attempt("modes and attributes")
def start_file_mode_through_proc(w):
    os.chmod(f"/proc/self/fd/{opened_start_file(w)}", mode_of(w.home + "/.bashrc"))
    return "changed"


@attempt("modes and attributes")
def start_file_mode_by_a_new_call(w):
    call(452, -100, start_file(w), mode_of(w.home + "/.bashrc"), 0)  # fchmodat2
    return "changed"


@attempt("modes and attributes")
def start_file_owner(w):
    os.chown(w.home + "/.bashrc", os.getuid(), -1)
    return "changed"


@attempt("modes and attributes")
def start_file_owner_by_descriptor(w):
    os.fchown(opened_start_file(w), os.getuid(), -1)
    return "changed"


@attempt("modes and attributes")
def start_file_extended_attribute(w):
    os.setxattr(w.home + "/.bashrc", "user.redteam", b"x")
    os.removexattr(w.home + "/.bashrc", "user.redteam")
    return "changed"


@attempt("modes and attributes")
def start_file_extended_attribute_by_descriptor(w):
    fd = opened_start_file(w)
    os.setxattr(fd, "user.redteam", b"x")
    os.removexattr(fd, "user.redteam")
    return "changed"


@attempt("modes and attributes")
def start_file_extended_attribute_by_a_new_call(w):
    value = ctypes.create_string_buffer(b"x")
    arguments = struct.pack("QII", ctypes.addressof(value), 1, 0)
    call(463, -100, start_file(w), 0, b"user.redteam\0", arguments, len(arguments))  # setxattrat
    os.removexattr(w.home + "/.bashrc", "user.redteam")
    return "changed"


@attempt("modes and attributes")
def start_file_access_list(w):
    """An entry for the owner, for another user, for the group, the mask, and for others; then none any more."""
    entry = lambda tag, rights, who=0xffffffff: struct.pack("<HHI", tag, rights, who)
    entries = struct.pack("<I", 2) + entry(1, 6) + entry(2, 4, 61299) + entry(4, 4) + entry(16, 4) + entry(32, 4)
    mode = mode_of(w.home + "/.bashrc")
    os.setxattr(w.home + "/.bashrc", "system.posix_acl_access", entries)
    os.removexattr(w.home + "/.bashrc", "system.posix_acl_access")
    os.chmod(w.home + "/.bashrc", mode)
    return "changed"


@attempt("modes and attributes")
def start_file_times(w):
    info = os.stat(w.home + "/.bashrc")
    os.utime(w.home + "/.bashrc", ns=(info.st_atime_ns, info.st_mtime_ns))
    return "changed"


@attempt("modes and attributes")
def start_file_times_by_descriptor(w):
    fd = opened_start_file(w)
    info = os.fstat(fd)
    os.utime(fd, ns=(info.st_atime_ns, info.st_mtime_ns))
    return "changed"


@attempt("modes and attributes")
def start_file_times_by_an_old_call(w):
    info = os.stat(w.home + "/.bashrc")
    call(132, start_file(w), struct.pack("qq", int(info.st_atime), int(info.st_mtime)))  # utime, of x86-64
    return "changed"


@attempt("modes and attributes")
def start_file_flags(w):
    """FS_IOC_GETFLAGS, FS_IOC_SETFLAGS: what chattr does."""
    fd = opened_start_file(w)
    flags = bytearray(8)
    fcntl.ioctl(fd, 0x80086601, flags)
    fcntl.ioctl(fd, 0x40086602, bytes(flags))
    return "changed"


@attempt("modes and attributes")
def start_file_flags_by_a_new_call(w):
    arguments = ctypes.create_string_buffer(24)
    call(468, -100, start_file(w), arguments, 24, 0)  # file_getattr
    call(469, -100, start_file(w), arguments, 24, 0)  # file_setattr
    return "changed"


@attempt("modes and attributes")
def standard_input_mode(w):
    """A file that exec was started with, of which the agent has a descriptor from outside of all mounts."""
    os.fchmod(0, os.fstat(0).st_mode & 0o7777)
    return "changed"


@attempt("modes and attributes")
def standard_input_mode_through_proc(w):
    os.chmod("/proc/self/fd/0", os.fstat(0).st_mode & 0o7777)
    return "changed"


@attempt("modes and attributes")
def standard_input_times(w):
    info = os.fstat(0)
    os.utime(0, ns=(info.st_atime_ns, info.st_mtime_ns))
    return "changed"


@attempt("modes and attributes")
def standard_input_extended_attribute(w):
    os.setxattr(0, "user.redteam", b"x")
    os.removexattr(0, "user.redteam")
    return "changed"


@attempt("modes and attributes")
def start_file_lease(w):
    """Whoever opens it for writing then waits, up to 45 seconds."""
    fcntl.fcntl(opened_start_file(w), 1024, fcntl.F_RDLCK)
    return "leased"


@attempt("modes and attributes")
def folder_watched_by_signal(w):
    fcntl.fcntl(os.open(w.home, os.O_RDONLY), 1026, 1)
    return "watches"


@attempt("keys of others")
def cloud_credentials(w):
    return seen(read(w.home + "/.aws/credentials"), w.file_secret)


@attempt("keys of others")
def ssh_key(w):
    return seen(read(w.home + "/.ssh/id_redteam"), w.file_secret)


@attempt("keys of others")
def netrc(w):
    return seen(read(w.home + "/.netrc"), w.file_secret)


@attempt("keys of others")
def dot_env(w):
    return seen(read(w.project + "/.env"), w.file_secret)


@attempt("keys of others")
def dot_env_deeper(w):
    return seen(read(w.project + "/service/.env.local"), w.file_secret)


@attempt("keys of others")
def dot_env_deep(w):
    return seen(read(w.project + "/a/b/c/d/e/.env"), w.file_secret)


@attempt("keys of others")
def private_key_in_the_project(w):
    return seen(read(w.project + "/server.pem"), w.file_secret)


@attempt("keys of others")
def log_in_of_another_agent(w):
    return seen(read(w.home + "/.codex/auth.json"), w.file_secret)


@attempt("keys of others")
def shell_history(w):
    return seen(read(w.home + "/.bash_history"), w.file_secret)


@attempt("keys of others")
def temporary_file(w):
    return seen(read(w.temporary_file), w.file_secret)


@attempt("keys of others")
def runtime_folder(w):
    return seen(read(w.runtime_file), w.file_secret)


@attempt("keys of others")
def shared_memory(w):
    """System V: no file stands for it."""
    shmget, shmat = libc.shmget, libc.shmat
    shmat.restype = ctypes.c_void_p
    number = check(shmget(w.memory_key, 0, 0), "shmget")
    address = shmat(number, None, 0o10000)
    return seen(ctypes.string_at(address, 64), w.memory_secret)


@attempt("keys of others")
def shared_memory_with_a_name(w):
    """POSIX: a file in /dev/shm."""
    return seen(read("/dev/shm/" + w.memory_name), w.memory_secret)


@attempt("keys of others")
def message_queue(w):
    """System V."""
    number = check(libc.msgget(w.queue_key, 0), "msgget")
    space = ctypes.create_string_buffer(128)
    check(libc.msgrcv(number, space, 100, 0, 0o4000 | 0o40000), "msgrcv")
    return seen(space.raw, w.memory_secret)


@attempt("other processes")
def victim_processors(w):
    os.sched_setaffinity(w.victim, os.sched_getaffinity(w.victim))
    return "set"


@attempt("other processes")
def priority_of_all(w):
    call(SYS["setpriority"], 2, 0, os.getpriority(os.PRIO_USER, 0))
    return "set"


# --- the machine

@attempt("the machine")
def tpm_device(w):
    os.close(os.open("/dev/tpmrm0", os.O_RDWR))
    return "opened"


@attempt("the machine")
def system_file(w):
    return created("/etc/redteam")


@attempt("the machine")
def password_file(w):
    return f"{len(read('/etc/shadow'))} bytes"


@attempt("the machine")
def kernel_setting(w):
    os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))
    return "opened"


@attempt("the machine")
def kernel_trigger(w):
    os.close(os.open("/proc/sysrq-trigger", os.O_WRONLY))
    return "opened"


@attempt("the machine")
def device_setting(w):
    os.close(os.open("/sys/kernel/mm/transparent_hugepage/enabled", os.O_WRONLY))
    return "opened"


@attempt("the machine")
def disk(w):
    device = os.stat("/").st_dev
    name = os.path.basename(os.readlink(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"))
    os.close(os.open("/dev/" + name, os.O_RDONLY))
    return name


@attempt("the machine")
def kernel_log(w):
    os.close(os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK))
    return "opened"


@attempt("the machine")
def new_device(w):
    path = tempfile.mktemp(dir=".")
    os.mknod(path, 0o20600, os.makedev(1, 11))
    os.unlink(path)
    return "made"


@attempt("the machine")
def program_for_others(w):
    path = tempfile.mktemp(dir=".")
    with open(path, "w"):
        pass
    try:
        os.chmod(path, 0o4755)
        return "made"
    finally:
        os.unlink(path)


@attempt("the machine")
def becoming_root(w):
    done = subprocess.run([w.root_program, "-u"], capture_output=True, text=True, timeout=LIMIT)
    if done.stdout.strip() != "0" or os.geteuid() == 0:
        raise OSError("uid " + done.stdout.strip())
    return "uid 0"


@attempt("the machine")
def load_kernel_code(w):
    attributes = struct.pack("IIQQ", 1, 2, 0, 0) + b"\0" * 48
    call(SYS["bpf"], 5, attributes, len(attributes)) if False else call(SYS["bpf"], 0, struct.pack("IIII", 2, 4, 8, 1) + b"\0" * 48, 64)
    return "map made"


# --- namespaces, and system calls that undo walls

@attempt("namespaces")
def user_namespace(w):
    call(SYS["unshare"], 0x10000000)
    return "made"


@attempt("namespaces")
def user_namespace_by_clone(w):
    pid = call(SYS["clone"], 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "made"


@attempt("namespaces")
def user_namespace_by_clone3(w):
    pid = call(SYS["clone3"], struct.pack("11Q", 0x10000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0), 88)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "made"


@attempt("namespaces")
def mount_something(w):
    if w.level == "off":
        call(SYS["unshare"], 0x10000000 | 0x20000)
    call(SYS["mount"], b"none\0", b"/mnt\0", b"tmpfs\0", 0, 0)
    return "mounted"


@attempt("namespaces")
def network_of_the_broker(w):
    fd = os.open(f"/proc/{w.broker}/ns/net", os.O_RDONLY)
    if w.level == "off" and os.geteuid() != 0:
        return "opened"
    call(SYS["setns"], fd, 0x40000000)
    return "entered"


@attempt("namespaces")
def first_process_root(w):
    return os.readlink("/proc/1/root") if os.geteuid() == 0 else f"{len(read(f'/proc/{w.keeper}/environ', 65536))} bytes"


@attempt("namespaces")
def nested_sandbox(w):
    done = subprocess.run(["unshare", "-Urm", "true"], capture_output=True, text=True, timeout=LIMIT)
    if done.returncode != 0:
        raise OSError(done.stderr.strip())
    return "made"


@attempt("system calls")
def mounts_by_a_new_call(w):
    """statmount: what is mounted where, outside as well."""
    request = struct.pack("IIQQQ", 32, 0, os.statvfs("/").f_fsid or 1, 1, 0)
    result = libc.syscall(457, request, ctypes.create_string_buffer(4096), 4096, 0)
    if result < 0 and ctypes.get_errno() in (errno.EPERM, errno.ENOSYS):
        raise OSError(ctypes.get_errno(), "statmount")
    return "answered"


@attempt("system calls")
def list_of_mounts_by_a_new_call(w):
    result = libc.syscall(458, struct.pack("IIQQQ", 32, 0, 2**64 - 1, 0, 0), ctypes.create_string_buffer(4096), 512, 0)
    if result < 0 and ctypes.get_errno() in (errno.EPERM, errno.ENOSYS):
        raise OSError(ctypes.get_errno(), "listmount")
    return "answered"


@attempt("system calls")
def ring_of_requests(w):
    call(SYS["io_uring_setup"], 4, ctypes.create_string_buffer(120))
    return "made"


@attempt("system calls")
def performance_counter(w):
    call(SYS["perf_event_open"], struct.pack("IIQ", 1, 128, 0) + struct.pack("QQQQ", 0, 0, 0, 0x61) + b"\0" * 80, 0, -1, -1, 0)
    return "opened"


@attempt("system calls")
def page_faults(w):
    call(SYS["userfaultfd"], 1)
    return "opened"


@attempt("system calls")
def old_call_numbers(w):
    """int 0x80: numbers of 32-bit programs, which filters may have forgotten. getpid() there is 20."""
    code = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    if function() != os.getpid():
        raise OSError("no such calls here")
    return "called"


@attempt("system calls")
def short_pointer_call_numbers(w):
    """x32: the same calls under other numbers."""
    return str(call(0x40000000 + 39))


@attempt("system calls")
def push_into_terminal(w):
    _, fd = os.openpty()
    os.setsid()
    fcntl.ioctl(fd, 0x540e, 0)  # TIOCSCTTY: into one's own terminal it is allowed, where it is at all
    call(16, fd, 0x5412 | (1 << 32), b"x")
    return "pushed"


# --- sockets

def said_by(sock):
    sock.settimeout(LIMIT)
    data = sock.recv(100)
    if not data:
        raise OSError("closed")
    return data.decode(errors="replace")


GET_RANDOM = bytes.fromhex("80010000000c0000017b0008")


def random_of_tpm(sock):
    sock.settimeout(LIMIT)
    sock.sendall(GET_RANDOM)
    answer = sock.recv(4096)
    if answer[6:10] != b"\0\0\0\0":
        raise OSError("the TPM refused")
    return "8 random bytes"


@attempt("sockets of this machine")
def tpm_socket(w):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(w.tpm_socket)
        return random_of_tpm(s)


@attempt("sockets of this machine")
def tpm_socket_by_relative_path(w):
    os.chdir(os.path.dirname(w.tpm_socket))
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(os.path.basename(w.tpm_socket))
        return random_of_tpm(s)


@attempt("sockets of this machine")
def tpm_socket_by_link(w):
    link = tempfile.mktemp(dir=".")
    os.symlink(w.tpm_socket, link)
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(link)
            return random_of_tpm(s)
    finally:
        os.unlink(link)


@attempt("sockets of this machine")
def tpm_over_tcp(w):
    with socket.create_connection(("127.0.0.1", w.tpm_port), LIMIT) as s:
        return random_of_tpm(s)


@attempt("sockets of this machine")
def socket_in_home(w):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(w.home + "/agent.sock")
        return said_by(s)


@attempt("sockets of this machine")
def socket_in_project(w):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(w.project + "/host.sock")
        return said_by(s)


@attempt("sockets of this machine")
def socket_switched_while_connecting(w):
    """The path is changed between check and use: a name in the project is now one's own socket, now the host's."""
    import threading
    own, name = tempfile.mktemp(dir="."), tempfile.mktemp(dir=".")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(own)
    listener.listen(64)
    stop = time.monotonic() + 2

    def switch():
        while time.monotonic() < stop:
            for target in (own, w.project + "/host.sock"):
                os.symlink(target, name + ".new")
                os.rename(name + ".new", name)

    def drain():
        while time.monotonic() < stop:
            connection, _ = listener.accept()
            connection.close()
    threading.Thread(target=switch, daemon=True).start()
    threading.Thread(target=drain, daemon=True).start()
    last = OSError("never")
    while time.monotonic() < stop:
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(name)
                s.settimeout(LIMIT)
                if data := s.recv(100):
                    return data.decode()
            except OSError as error:
                last = error
    raise last


@attempt("sockets of this machine")
def address_switched_while_connecting(w):
    """The address is changed in memory while connect() waits: now the broker's, now the host's."""
    import threading
    broker = int(os.environ["AGENTVAULT_URL"].rsplit(":", 1)[1])
    place = ctypes.create_string_buffer(16)
    good = struct.pack("=HH4s8s", socket.AF_INET, socket.htons(broker), socket.inet_aton("127.0.0.1"), b"")
    bad = struct.pack("=HH4s8s", socket.AF_INET, socket.htons(w.host_port), socket.inet_aton("127.0.0.1"), b"")
    stop = time.monotonic() + 2

    def switch():
        while time.monotonic() < stop:
            ctypes.memmove(place, good, 16)
            ctypes.memmove(place, bad, 16)
    threading.Thread(target=switch, daemon=True).start()
    while time.monotonic() < stop:
        with socket.socket() as s:
            try:
                if libc.connect(s.fileno(), place, 16) == 0 and s.getpeername()[1] == w.host_port:
                    return said_by(s)
            except OSError:
                continue  # the other side was faster
    raise OSError("always the broker, or nothing")


@attempt("sockets of this machine")
def socket_of_desktop(w):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(w.runtime_socket)
        return said_by(s)


@attempt("sockets of this machine")
def socket_in_temporary_folder(w):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(w.temporary_socket)
        return said_by(s)


@attempt("sockets of this machine")
def abstract_socket(w):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect("\0" + w.abstract_name)
        return said_by(s)


@attempt("sockets of this machine")
def datagram_to_a_path(w):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(b"redteam", w.home + "/datagrams.sock")
        return "sent"


@attempt("sockets of this machine")
def datagram_from_a_pair(w):
    one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.sendto(b"redteam", w.home + "/datagrams.sock")
    return "sent"


@attempt("network")
def host_port(w):
    with socket.create_connection(("127.0.0.1", w.host_port), LIMIT) as s:
        return said_by(s)


@attempt("network")
def host_port_over_v6(w):
    with socket.create_connection(("::1", w.host_port_v6), LIMIT) as s:
        return said_by(s)


@attempt("network")
def host_port_over_mapped_v6(w):
    with socket.create_connection(("::ffff:127.0.0.1", w.host_port), LIMIT) as s:
        return said_by(s)


@attempt("network")
def other_loopback_address(w):
    """127.0.0.2, at a port that is the broker's on 127.0.0.1."""
    with socket.create_connection(("127.0.0.2", w.other_port), LIMIT) as s:
        return said_by(s)


@attempt("network")
def host_port_multipath(w):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as s:
        s.connect(("127.0.0.1", w.host_port))
        return said_by(s)


@attempt("network")
def host_port_fast_open(w):
    with socket.socket() as s:
        s.sendto(b"hello", 0x20000000, ("127.0.0.1", w.host_port))
        return said_by(s)


@attempt("network")
def host_datagram(w):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(b"hello", ("127.0.0.1", w.host_datagram_port))
        return said_by(s)


@attempt("network")
def broker_of_another_session(w):
    """With a token of one's own, at the wrong broker; and does it let one in at all?"""
    with socket.create_connection(("127.0.0.1", w.other_session_port), LIMIT) as s:
        s.settimeout(LIMIT)
        s.sendall(b"GET /redteam/v1/x HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % w.other_session_port)
        return said_by(s)[:30]


@attempt("network")
def server_on_all_addresses(w):
    """Reached from other machines, it is a way out. At strict it is on an inner network, where nobody else is."""
    with socket.socket() as s:
        s.bind(("0.0.0.0", 0))
        s.listen(1)
        if w.host_network != os.readlink("/proc/self/ns/net"):
            raise OSError("an inner network")
        return "listens"


@attempt("network")
def raw_socket(w):
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    return "made"


@attempt("network")
def packet_socket(w):
    socket.socket(17, socket.SOCK_RAW, 0).close()
    return "made"


@attempt("network")
def vm_socket(w):
    socket.socket(40, socket.SOCK_STREAM).close()
    return "made"


@attempt("network")
def crypto_socket(w):
    socket.socket(38, socket.SOCK_SEQPACKET).close()
    return "made"


@attempt("network")
def packet_filter_socket(w):
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12).close()
    return "made"


@attempt("network")
def socket_diagnostics(w):
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4).close()
    return "made"


class World:
    def __init__(self, values):
        self.__dict__.update(values)
        self.own = os.getpid()

    def __getitem__(self, name):
        return getattr(self, name)


def one(function, world, result):
    signal.alarm(LIMIT)
    world.own = os.getpid()
    try:
        answer = {"succeeded": True, "what": str(function(world))}
    except subprocess.TimeoutExpired:
        answer = {"succeeded": False, "what": "timed out"}
    except OSError as error:
        name = errno.errorcode.get(error.errno, "") if error.errno else ""
        answer = {"succeeded": False, "what": name or str(error)}
    except Exception as error:
        answer = {"succeeded": False, "what": f"{type(error).__name__}: {error}"}
    os.write(result, json.dumps(answer).encode())
    os._exit(0)


def main():
    with open("world.json") as file:
        world = World(json.load(file))
    world.level = sys.argv[1]
    world.session = os.environ["AGENTVAULT_SESSION"]
    world.keeper = os.getppid()
    world.broker = int(os.environ.get("REDTEAM_BROKER", "0")) or world.keeper
    chosen = set(sys.argv[2:])
    for group, function in ATTEMPTS:
        if chosen and function.__name__ not in chosen:
            continue
        reads, writes = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reads)
            one(function, world, writes)
        os.close(writes)
        data = b""
        while got := os.read(reads, 65536):
            data += got
        os.close(reads)
        _, status = os.waitpid(pid, 0)
        answer = json.loads(data) if data else {"succeeded": False, "what": f"ended by signal {os.waitstatus_to_exitcode(status)}"}
        print(json.dumps({"group": group, "name": function.__name__, **answer}), flush=True)


if __name__ == "__main__":
    main()
