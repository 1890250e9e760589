"""Tries to get out of every level of isolation, as root and as an ordinary user.

Each attempt must first succeed without isolation: one that cannot succeed proves nothing. The table that this prints is
the one in SECURITY.md; a row that differs from it fails.
"""
import contextlib
import ctypes
import json
import os
import pathlib
import pty
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/system"))
from harness import KEY, LIMIT, PROGRAM, wait_for  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
USER = 65534  # nobody
SECRET = "redteam-secret-"

# What succeeds nevertheless. SECURITY.md says so, and why.
OPEN = {
    "standard": {"git_hook", "git_configuration", "git_folder_replaced", "editor_settings", "direnv_file", "dot_env", "dot_env_deeper",
                 "dot_env_deep", "private_key_in_the_project", "editor_settings_deeper", "file_of_git_configuration",
                 "missing_settings", "missing_settings_by_name", "missing_commands_of_git",
                 "shared_memory_with_a_name", "vault_list", "broker_descriptors"},
    "strict": set(),
}
# What has no control on some machines, and why.
WITHOUT_CONTROL = {
    "tpm_device": "no TPM here", "becoming_root": "only for an ordinary user", "short_pointer_call_numbers": "no x32 in this kernel",
    "old_call_numbers": "no 32-bit calls in this kernel", "performance_counter": "perf_event_paranoid", "page_faults": "unprivileged_userfaultfd",
    "load_kernel_code": "unprivileged_bpf_disabled", "crypto_socket": "no AF_ALG in this kernel", "vm_socket": "no AF_VSOCK in this kernel",
    "packet_socket": "only for root", "raw_socket": "only for root", "system_file": "only for root", "password_file": "only for root",
    "kernel_setting": "only for root", "kernel_trigger": "only for root, with sysrq in this kernel", "device_setting": "only for root", "disk": "only for root, of a disk",
    "kernel_log": "dmesg_restrict", "new_device": "only for root", "broker_kcmp": "no kcmp in this kernel", "host_port_multipath": "no MPTCP in this kernel",
    **{name: "not in this kernel" for name in ("start_file_mode_by_a_new_call", "start_file_extended_attribute_by_a_new_call", "start_file_flags_by_a_new_call",
                                               "mounts_by_a_new_call", "list_of_mounts_by_a_new_call")},
    **{name: "not on this file system" for name in ("start_file_flags", "start_file_access_list")},
    "host_port_over_v6": "no IPv6 here", "network_of_the_broker": "only for root", "vault_by_file_handle": "only for root",
    "host_port_fast_open": "tcp_fastopen is off", "ring_of_requests": "io_uring_disabled", "vault_uncover": "there is no cover without walls",
    "push_into_terminal": "dev.tty.legacy_tiocsti", "runtime_folder": "/run is root's", "socket_of_desktop": "/run is root's",
    # At `off` they are of the broker itself, which is not to be looked at by anybody but root.
    **{name: "not even without walls: the broker is not dumpable" for name in (
        "broker_environ", "broker_maps", "broker_mem", "broker_mem_write", "broker_descriptors", "broker_root", "broker_process_vm_readv",
        "broker_ptrace_seize", "broker_ptrace_attach", "broker_pidfd_getfd", "broker_from_an_orphan", "vault_by_broker_root",
        "vault_by_broker_working_directory", "parent_environ", "first_process_root")},
}


class World:
    """A home with everything an agent should not get at, a project to work in, and servers on the host."""

    def __init__(self, as_user):
        self.as_user = as_user
        place = "/home" if os.geteuid() == 0 else str(ROOT / "build")
        # Not under /tmp, which is private anyway.
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="redteam-", dir=place))
        self.cleanup = contextlib.ExitStack()
        self.cleanup.callback(shutil.rmtree, self.base, True)
        self.home, self.project = self.base / "home", self.base / "home/project"
        self.program = self.base / "bin/agentvault"
        self.make_files()
        self.make_root_program()
        self.own_everything()
        self.values = {"home": str(self.home), "project": str(self.project), "program": str(self.program), "vault": str(self.vault),
                       "file_secret": SECRET + "file", "root_program": str(self.base / "root-id")}
        self.make_tpm()
        self.make_servers()
        self.make_victim()
        self.make_kernel_objects()
        self.make_vault()

    @property
    def vault(self):
        return self.home / ".local/share/agentvault"

    def make_files(self):
        for folder in ("bin", "home/.local/share", "home/.local/bin", "home/.config/systemd/user", "home/.config/autostart", "home/.ssh",
                       "home/.aws", "home/other", "home/project/.git/hooks", "home/project/.vscode", "home/project/service/.vscode", "home/project/info", "home/project/a/b/c/d/e", "home/.codex", "home/.claude"):
            (self.base / folder).mkdir(parents=True)
        os.chmod(self.base, 0o755)
        shutil.copy(PROGRAM, self.program)
        shutil.copy(HERE / "attempts.py", self.project / "attempts.py")
        secret = SECRET + "file\n"
        for name in (".aws/credentials", ".ssh/id_redteam", ".netrc", ".bash_history", "project/.env", "project/service/.env.local", "project/a/b/c/d/e/.env", ".codex/auth.json"):
            (self.home / name).write_text(secret)
        (self.home / ".bashrc").write_text("# start\n")
        (self.project / ".git/HEAD").write_text("ref: refs/heads/main\n")
        (self.project / ".git/config").write_text("[core]\n[include]\n\tpath = ../included.gitconfig\n")
        (self.project / "included.gitconfig").write_text("")
        (self.project / "server.pem").write_text("-----BEGIN PRIVATE KEY-----\n" + secret)
        (self.home / ".codex/config.toml").write_text("")
        (self.project / "service/.vscode/tasks.json").write_text("{}\n")
        (self.project / ".vscode/settings.json").write_text("{}\n")
        (self.project / ".envrc").write_text("\n")

    def make_root_program(self):
        if os.geteuid() == 0:
            shutil.copy("/usr/bin/id", self.base / "root-id")
            os.chmod(self.base / "root-id", 0o4755)

    def own_everything(self):
        if self.as_user:
            for path in [self.home, *self.home.rglob("*")]:
                os.chown(path, USER, USER)

    def prefix(self):
        return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if self.as_user else []

    def environment(self):
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS")}
        return {**kept, "HOME": str(self.home), "SHELL": "/bin/sh"}

    def start(self, argv, **options):
        process = subprocess.Popen([*self.prefix(), *map(str, argv)], env=self.environment(), cwd=self.project, **options)
        self.cleanup.callback(self.end, process)
        return process

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.kill()
        process.wait(LIMIT)
        for stream in (process.stdin, process.stdout):
            if stream:
                stream.close()

    def make_tpm(self):
        state = self.home / "tpm-state"
        state.mkdir(mode=0o700)
        if self.as_user:
            os.chown(state, USER, USER)
        path = self.home / "tpm.sock"
        self.start(["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--server", f"type=unixio,path={path}", "--flags",
                    "not-need-init,startup-clear"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(path.exists, "swtpm")
        second = self.home / "tpm-state-2"
        second.mkdir(mode=0o700)
        if self.as_user:
            os.chown(second, USER, USER)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.start(["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={second}", "--server", f"type=tcp,port={port},bindaddr=127.0.0.1",
                    "--flags", "not-need-init,startup-clear"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def listens():
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                return any(f"0100007F:{port:04X} 00000000:0000 0A" in line for line in open("/proc/net/tcp"))
        wait_for(listens, "swtpm on a port")
        self.values.update(tpm_socket=str(path), tpm_port=port)

    def serve(self, listener):
        """Says one word to whoever comes."""
        def loop():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    connection.sendall(b"host speaking\n")
                    connection.settimeout(1)
                    connection.recv(1)
        self.cleanup.callback(listener.close)
        threading.Thread(target=loop, daemon=True).start()
        return listener

    def serve_tcp(self, address, port=0, family=socket.AF_INET):
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_TCP, 23, 16)  # TCP_FASTOPEN
        listener.bind((address, port))
        listener.listen(64)
        return self.serve(listener).getsockname()[1]

    def serve_path(self, path):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        if self.as_user and not str(path).startswith("\0"):
            os.chown(path, USER, USER)
        listener.listen(64)
        self.serve(listener)
        return str(path)

    def make_servers(self):
        v = self.values
        v["host_port"] = self.serve_tcp("127.0.0.1")
        v["other_port"] = self.serve_tcp("127.0.0.2")
        v["host_port_v6"] = 1
        with contextlib.suppress(OSError):
            v["host_port_v6"] = self.serve_tcp("::1", family=socket.AF_INET6)
        self.serve_path(self.home / "agent.sock")
        self.serve_path(self.project / "host.sock")
        v["temporary_socket"] = self.serve_path(tempfile.mktemp(prefix="redteam-", suffix=".sock", dir="/tmp"))
        self.cleanup.callback(os.unlink, v["temporary_socket"])
        v["temporary_file"] = tempfile.mktemp(prefix="redteam-", dir="/tmp")
        v["runtime_socket"], v["runtime_file"] = "/run/redteam.sock", "/run/redteam.txt"
        for path in [v["temporary_file"]] + ([v["runtime_file"]] if os.geteuid() == 0 else []):
            pathlib.Path(path).write_text(SECRET + "file\n")
            os.chmod(path, 0o644)
            self.cleanup.callback(os.unlink, path)
        if os.geteuid() == 0:
            v["runtime_socket"] = self.serve_path(tempfile.mktemp(prefix="redteam-", suffix=".sock", dir="/run"))
            self.cleanup.callback(os.unlink, v["runtime_socket"])
        v["abstract_name"] = "redteam-" + self.base.name
        self.serve_path("\0" + v["abstract_name"])
        datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        datagrams.bind(str(self.home / "datagrams.sock"))
        if self.as_user:
            os.chown(self.home / "datagrams.sock", USER, USER)
        self.cleanup.callback(datagrams.close)
        echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        echo.bind(("127.0.0.1", 0))
        v["host_datagram_port"] = echo.getsockname()[1]
        self.cleanup.callback(echo.close)

        def answer():
            with contextlib.suppress(OSError):
                while True:
                    _, sender = echo.recvfrom(100)
                    echo.sendto(b"host speaking", sender)
        threading.Thread(target=answer, daemon=True).start()

    def make_victim(self):
        """Another program of the same user, with a secret in its environment and a terminal of its own."""
        v = self.values
        v["victim_secret"] = SECRET + "environment"
        master, slave = pty.openpty()
        self.cleanup.callback(os.close, master)
        if self.as_user:
            os.chown(os.ttyname(slave), USER, USER)
        v["victim_terminal"] = os.ttyname(slave)
        victim = subprocess.Popen([*self.prefix(), "sleep", "3600"], env={"PATH": os.environ["PATH"], "TOKEN": v["victim_secret"]},
                                  stdin=slave, cwd=self.home / "other")
        os.close(slave)
        self.cleanup.callback(self.end, victim)
        wait_for(lambda: b"sleep" in pathlib.Path(f"/proc/{victim.pid}/cmdline").read_bytes(), "the victim")
        v["victim"] = victim.pid
        descriptor = self.base / "descriptor.txt"
        descriptor.write_text(SECRET + "descriptor")
        v["descriptor_secret"] = SECRET + "descriptor"
        self.descriptor = descriptor

    def make_kernel_objects(self):
        v = self.values
        libc = ctypes.CDLL(None, use_errno=True)
        v["key_name"], v["key_secret"] = "redteam-" + self.base.name, SECRET + "key"
        # In the session key ring, which children inherit.
        key = libc.syscall(248, b"user", v["key_name"].encode(), v["key_secret"].encode(), len(v["key_secret"]), -3)
        if key > 0:
            libc.syscall(250, 5, key, 0x3f3f3f3f)
            self.cleanup.callback(libc.syscall, 250, 3, key)
        v["memory_secret"] = SECRET + "memory"
        v["host_network"] = os.readlink("/proc/self/ns/net")
        v["memory_name"] = "redteam-" + self.base.name
        named = pathlib.Path("/dev/shm", v["memory_name"])
        named.write_text(v["memory_secret"])
        os.chmod(named, 0o644)
        self.cleanup.callback(named.unlink)
        v["queue_key"] = 0x52460000 + os.getpid() % 65536
        queue = libc.msgget(v["queue_key"], 0o1666)
        message = ctypes.create_string_buffer(struct.pack("l", 1) + v["memory_secret"].encode())
        libc.msgsnd(queue, message, len(v["memory_secret"]), 0o4000)
        self.cleanup.callback(libc.msgctl, queue, 0, None)
        v["memory_key"] = 0x52450000 + os.getpid() % 65536
        number = libc.shmget(v["memory_key"], 4096, 0o1666)
        libc.shmat.restype = ctypes.c_void_p
        address = libc.shmat(number, None, 0)
        ctypes.memmove(address, v["memory_secret"].encode(), len(v["memory_secret"]))
        self.cleanup.callback(libc.shmctl, number, 0, None)

    def run(self, *words, stdin=""):
        done = subprocess.run([*self.prefix(), str(self.program), *words], input=stdin, env=self.environment(), cwd=self.project, text=True,
                              capture_output=True, timeout=LIMIT)
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        return done

    def make_vault(self):
        self.run("init", "--tpm", "embedded")
        self.run("add", "redteam", "--stdin", "--url", "https://api.vendor.example/v1", "--env", "REDTEAM_KEY", stdin=KEY)
        marker = self.vault / "redteam-marker"
        marker.write_text("x")
        if self.as_user:
            os.chown(marker, USER, USER)
        # A session beside the one that is attacked.
        other = self.start([self.program, "exec", "-q", "--isolation", "off", "--", "sh", "-c", "echo $AGENTVAULT_URL; read line"],
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.values["other_session_port"] = int(other.stdout.readline().strip().rsplit(":", 1)[1])

    def attempts(self, level, names=()):
        """All of them in one session: {name: {group, succeeded, what}}."""
        (self.project / "world.json").write_text(json.dumps(self.values))
        announced = self.project / "broker.pid"
        announced.unlink(missing_ok=True)
        with open(self.descriptor) as secret, open(self.home / ".bashrc") as start:
            os.dup2(secret.fileno(), 207)
            os.dup2(start.fileno(), 208)
            os.set_inheritable(207, True)
            os.set_inheritable(208, True)
            process = self.start([self.program, "exec", "-q", "--isolation", level, "--", sys.executable, "-c", WAIT_FOR_BROKER, level, *names],
                                 stdin=start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pass_fds=(207, 208))
            os.close(207)
            os.close(208)
        announced.write_text(str(process.pid))
        out, err = process.communicate(timeout=300)
        if process.returncode != 0:
            raise AssertionError(f"{level}: exit {process.returncode}\n{out[-2000:]}\n{err[-2000:]}")
        return {line["name"]: line for line in map(json.loads, out.splitlines())}


WAIT_FOR_BROKER = """
import os, sys, time, runpy
while not (os.path.exists("broker.pid") and open("broker.pid").read()):
    time.sleep(0.01)
os.environ["REDTEAM_BROKER"] = open("broker.pid").read()
sys.argv = ["attempts.py", *sys.argv[1:]]
runpy.run_path("attempts.py", run_name="__main__")
"""


def documented():
    """{attempt: (standard, strict)} of SECURITY.md."""
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| (denied|open) \| (denied|open) \|$", (ROOT / "SECURITY.md").read_text(), re.M)
    return {name: (standard, strict) for name, standard, strict in rows}


class RedTeamTest(unittest.TestCase):
    def attack(self, as_user):
        world = World(as_user)
        self.addCleanup(world.cleanup.close)
        control = world.attempts("off")
        results = {level: world.attempts(level) for level in ("standard", "strict")}
        self.print_table("an ordinary user" if as_user else "root", control, results)
        without = {name for name, row in control.items() if not row["succeeded"]}
        self.assertEqual(without - set(WITHOUT_CONTROL), set(), "cannot fail: " + str({n: control[n]["what"] for n in without - set(WITHOUT_CONTROL)}))
        for level, rows in results.items():
            self.assertEqual(set(rows), set(control))
            got_out = {name for name, row in rows.items() if row["succeeded"]}
            self.assertEqual(got_out - OPEN[level], set(), f"{level}: " + str({n: rows[n]["what"] for n in got_out - OPEN[level]}))
        return control, results

    @staticmethod
    def print_table(who, control, results):
        print(f"\nas {who}\n{'attempt':36}{'without walls':28}{'standard':24}strict")
        group = None
        for name, row in control.items():
            if row["group"] != group:
                group = row["group"]
                print(f"-- {group}")
            cells = [("open: " if r["succeeded"] else "denied: ") + r["what"].replace("\n", " ") for r in (row, results["standard"][name], results["strict"][name])]
            print(f"{name:36}{cells[0][:26]:28}{cells[1][:22]:24}{cells[2][:30]}")

    @unittest.skipUnless(os.geteuid() == 0, "not root")
    def test_as_root(self):
        self.attack(False)

    def test_as_an_ordinary_user(self):
        control, _ = self.attack(os.geteuid() == 0)
        # The suite must not grow blind: most of its attempts do succeed where there are no walls.
        succeeded = sum(row["succeeded"] for row in control.values())
        self.assertGreater(succeeded, 60)

    def test_the_documented_table_is_this_one(self):
        sys.path.insert(0, str(HERE))
        import attempts
        names = {function.__name__ for _, function in attempts.ATTEMPTS}
        table = documented()
        self.assertEqual(set(table), names)
        for name, (standard, strict) in table.items():
            self.assertEqual(standard, "open" if name in OPEN["standard"] else "denied", name)
            self.assertEqual(strict, "open" if name in OPEN["strict"] else "denied", name)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[1:]])
