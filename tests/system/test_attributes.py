"""Modes, owners, extended attributes and times: the agent's own change as everywhere, nobody else's do; and system calls
that nobody has judged. What is denied is in tests/redteam's table as well."""
import ctypes
import os
import pathlib
import subprocess
import sys

from cell import WALLS, IsolationTest
from harness import LIMIT, ROOT, main


class OwnFilesTest(IsolationTest):
    """Whoever makes files uses all of these calls: tar, cp -p, git, npm, compilers."""
    SCRIPT = r'''
import ctypes, os, stat, struct, tempfile, threading
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    if libc.syscall(ctypes.c_long(number), *arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
def mode(path): return oct(os.stat(path).st_mode & 0o7777)
open("f", "w").close(); os.mkdir("d"); os.symlink("f", "link")
os.chmod("f", 0o640); print(mode("f"))
os.chmod("link", 0o600); print(mode("f"))
folder = os.open("d", os.O_RDONLY)
open("d/g", "w").close(); os.chmod("g", 0o604, dir_fd=folder); print(mode("d/g"))
fd = os.open("f", os.O_RDONLY); os.fchmod(fd, 0o400); print(mode("f"))
os.chmod(f"/proc/self/fd/{fd}", 0o600); print(mode("f"))
os.chmod(f"/dev/fd/{fd}", 0o644); print(mode("f"))
os.chdir("d"); os.chmod("../f", 0o664); print(mode("../f")); os.chdir("..")
thread = threading.Thread(target=os.chmod, args=(f"/proc/thread-self/fd/{fd}", 0o600)); thread.start(); thread.join(); print(mode("f"))
for bad in (0o4755, 0o2755):
    try: os.chmod("f", bad); print("set-uid")
    except PermissionError: print("refused")
try: os.chmod("missing", 0o600)
except FileNotFoundError: print("missing")
try: os.chmod("", 0o600)
except FileNotFoundError: print("empty")
try: call(90, ctypes.c_void_p(8), 0o600)
except OSError as error: print(error.errno)
try: os.fchmod(999, 0o600)
except OSError as error: print(error.errno)
os.chown("f", os.getuid(), os.getgid()); os.lchown("link", os.getuid(), -1); os.fchown(fd, -1, os.getgid())
os.utime("f", ns=(1_000_000_001, 2_000_000_003)); s = os.stat("f"); print(s.st_atime_ns, s.st_mtime_ns)
os.utime("f", (5, 6)); print(int(os.stat("f").st_mtime))
os.utime(fd, (7, 8)); print(int(os.stat("f").st_mtime))
os.utime("link", (9, 10), follow_symlinks=False); print(int(os.lstat("link").st_mtime), int(os.stat("f").st_mtime))
call(132, b"f\0", struct.pack("qq", 11, 12)); print(int(os.stat("f").st_mtime))
call(235, b"f\0", struct.pack("qqqq", 13, 0, 14, 500_000)); print(os.stat("f").st_mtime_ns)
call(261, folder, b"g\0", struct.pack("qqqq", 15, 0, 16, 0)); print(int(os.stat("d/g").st_mtime))
os.utime("f"); print(os.stat("f").st_mtime > 1e9)
try:
    os.setxattr("f", "user.a", b"1"); os.setxattr(fd, "user.b", b"2" * 1000)
    print(os.getxattr("f", "user.a"), len(os.getxattr("f", "user.b")))
    os.removexattr("f", "user.a"); os.removexattr(fd, "user.b"); print(os.listxattr("f"))
except OSError as error:
    print(b"1", 1000); print([])
def failing(what):
    try: what()
    except OSError as error: return error.errno
    return 0
os.symlink(f"/proc/self/fd/{fd}", "to-descriptor")
before = [os.stat(p).st_mode for p in (".", "d", "f")]
print(failing(lambda: os.fchmod(-100, 0o640)), failing(lambda: os.chmod("x" * 5000, 0o600)), failing(lambda: os.setxattr("f", "user." + "x" * 300, b"")))
failing(lambda: os.chmod("to-descriptor", 0o777))
print(before[:2] == [os.stat(p).st_mode for p in (".", "d")])
os.mkdir("shared"); os.chmod("shared", 0o2755) if LEVEL != "strict" else os.chmod("shared", 0o755); os.rmdir("shared")
os.unlink("to-descriptor")
with tempfile.TemporaryFile() as nameless: os.fchmod(nameless.fileno(), 0o600); print("nameless")
with tempfile.NamedTemporaryFile() as named: os.chmod(named.name, 0o640); print(mode(named.name))
'''
    EXPECTED = ["0o640", "0o600", "0o604", "0o400", "0o600", "0o644", "0o664", "0o600", "refused", "refused", "missing", "empty", "14", "9",
                "1000000001 2000000003", "6", "8", "10 8", "12", "14500000000", "16", "True", "b'1' 1000", "[]", "9 36 34", "True", "nameless", "0o640"]

    def test_they_change_as_without_walls(self):
        for level, options in (("off", {}), ("standard", {}), ("strict", {}), ("strict", {"stdin_is_foreign": True})):
            with self.subTest(level, **options):
                for name in ("f", "link", "d/g"):
                    (self.project / name).unlink(missing_ok=True)
                if (self.project / "d").exists():
                    (self.project / "d").rmdir()
                with open(self.home / ".bashrc" if options else os.devnull) as stdin:
                    done = subprocess.run(self.v.argv("exec", "-q", "--isolation", level, "--", sys.executable, "-c", f"LEVEL = {level!r}" + self.SCRIPT), env=self.v.environment,
                                          cwd=self.project, stdin=stdin, capture_output=True, text=True, timeout=LIMIT)
                self.assertEqual(done.returncode, 0, done.stderr)
                expected = ["set-uid" if line == "refused" and level == "off" else line for line in self.EXPECTED]
                if level == "off":  # the mode that it has got there
                    self.assertEqual([line for line in done.stdout.splitlines() if line != "set-uid"], [line for line in expected if line != "set-uid"])
                else:
                    self.assertEqual(done.stdout.splitlines(), expected)

    def test_programs_that_set_them_work(self):
        (self.home / "tree").mkdir()
        script = """
mkdir -p src/a && echo x > src/a/f && chmod 750 src/a/f && ln -s f src/a/l && touch -d '2001-02-03 04:05:06 UTC' src/a/f
tar cf t.tar src && mkdir out && tar xpf t.tar -C out && cp -a src copy && stat -c '%a %Y' out/src/a/f copy/a/f
install -m 600 src/a/f installed && stat -c %a installed && touch -h -d @5 src/a/l && stat -c %Y src/a/l
chmod -R g+w src && find src -perm -g+w -type f | wc -l && git init -q repository && rm -rf src out copy repository t.tar installed
"""
        for level in WALLS:
            done = self.ok(self.inside(level, "set -e\n" + script))
            self.assertEqual(done.out.split(), ["750", "981173106", "750", "981173106", "600", "5", "1"])

    def test_a_cache_that_holds_a_key_is_not_changed_at_standard(self):
        """Landlock lets it be read only; so is its mode."""
        cache = self.home / ".cache/huggingface"
        cache.mkdir(parents=True)
        for name in ("token", "model"):
            (cache / name).write_text("x")
            (cache / name).chmod(0o600)
        done = self.inside("standard", "chmod 666 ~/.cache/huggingface/token; chmod 666 ~/.cache/huggingface/model; touch ~/.cache/huggingface/model")
        self.assertNotEqual(done.code, 0)
        self.assertEqual([(cache / name).stat().st_mode & 0o777 for name in ("token", "model")], [0o600, 0o600])

    def test_a_name_that_is_swapped_leads_nowhere(self):
        """Another thread changes the path while the call is judged: what is changed is always the agent's own."""
        (self.home / ".bashrc").chmod(0o644)
        script = f"""
import ctypes, os, threading
libc = ctypes.CDLL(None)
open("mine", "w").close()
outside, mine = {str(self.home / '.bashrc')!r}.encode(), os.path.abspath("mine").encode()
size = max(len(outside), len(mine)) + 1
space = ctypes.create_string_buffer(size)
stop = False
def swap():
    while not stop:
        ctypes.memmove(space, outside.ljust(size, b"\\0"), size)
        ctypes.memmove(space, mine.ljust(size, b"\\0"), size)
thread = threading.Thread(target=swap)
thread.start()
for _ in range(3000):
    libc.chmod(space, 0o777)
stop = True
thread.join()
print(oct(os.stat("mine").st_mode & 0o777))
"""
        for level in WALLS:
            self.assertEqual(self.ok(self.python(level, script)).out, "0o777\n")
            self.assertEqual((self.home / ".bashrc").stat().st_mode & 0o777, 0o644)


class VaultModesTest(IsolationTest):
    ASK = """
import os, urllib.error, urllib.request
print("up", flush=True)
input()
try: urllib.request.urlopen(urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/models", headers={"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}))
except urllib.error.HTTPError as error: print(error.code)
"""

    def test_revoke_repairs_what_was_taken_from_it(self):
        """At `off` an agent can do that: it runs as the user."""
        sessions = self.v.path / "sessions"
        for what, mode in ((self.v.path, 0), (self.v.path / "vault.db", 0), (sessions, 0), (self.v.path, 0o500), (self.v.path / "vault.lock", 0)):
            with self.subTest(what=what.name, mode=oct(mode)):
                if not what.exists():
                    continue
                process = subprocess.Popen(self.user(self.v.argv("exec", "-q", "--", sys.executable, "-c", self.ASK)), env=self.v.environment, cwd=self.project,
                                           stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                self.addCleanup(lambda p=process: (p.kill(), p.communicate(timeout=LIMIT)))
                self.assertEqual(process.stdout.readline(), b"up\n")
                what.chmod(mode)
                done = subprocess.run(self.user(self.v.argv("revoke", "--all")), env=self.v.environment, capture_output=True, text=True, timeout=LIMIT)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("permissions were taken from", done.stderr)
                self.assertIn("every token is worthless", done.stderr)
                self.assertEqual(process.communicate(b"ask\n", timeout=LIMIT)[0], b"401\n")
                self.assertEqual((what.stat().st_mode & 0o700) >> 6, 7 if what.is_dir() else 6)

    def user(self, argv):
        """Root needs no permissions."""
        if os.geteuid() != 0:
            return argv
        user = 61204
        if self.v.path.stat().st_uid != user:
            subprocess.run(["chown", "-R", str(user), str(self.folder), str(self.base)], check=True)
        return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *map(str, argv)]


class SharedCountersTest(IsolationTest):
    def test_an_agent_leaves_watches_of_files_to_others(self):
        """What the kernel counts for the user as a whole: at strict a namespace has half of it."""
        most = int(pathlib.Path("/proc/sys/fs/inotify/max_user_instances").read_text())
        script = f"import ctypes\nlibc = ctypes.CDLL(None)\nprint(sum(libc.inotify_init() >= 0 for _ in range({most} * 2)), flush=True)\nimport sys; sys.stdin.read()"
        process = subprocess.Popen(self.v.argv("exec", "-q", "--isolation", "strict", "--", sys.executable, "-c", script), env=self.v.environment, cwd=self.project,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: process.communicate(timeout=LIMIT))
        self.assertLessEqual(int(process.stdout.readline()), most // 2)
        libc = ctypes.CDLL(None)
        own = libc.inotify_init()
        self.assertGreaterEqual(own, 0)
        os.close(own)


class UnjudgedCallsTest(IsolationTest):
    NEWEST = 469

    def test_they_are_unknown_to_the_agent(self):
        # 335 and 336 belong to probes of the kernel's own, which it lets through any filter; others that make them are ended.
        script = f"""
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
for number in (*range({self.NEWEST} + 1, {self.NEWEST} + 200), 337, 400, 423, 2000, 1 << 30):
    ctypes.set_errno(0)
    if libc.syscall(ctypes.c_long(number), 0, 0, 0, 0, 0, 0) != -1 or ctypes.get_errno() != errno.ENOSYS: print(number, ctypes.get_errno())
"""
        for level in WALLS:
            self.assertEqual(self.ok(self.python(level, script)).out, "")

    def test_no_kernel_here_has_calls_that_nobody_has_judged(self):
        """Those agents do not get, which is safe; but somebody should look at them: see kNewestJudged in syscall_filter.cpp."""
        libc = ctypes.CDLL(None, use_errno=True)
        known = []
        for number in range(self.NEWEST + 1, self.NEWEST + 64):
            # In a process of its own: nobody knows what it does.
            pid = os.fork()
            if pid == 0:
                ctypes.set_errno(0)
                result = libc.syscall(ctypes.c_long(number), -1, -1, -1, -1, -1, -1)
                os._exit(0 if result == -1 and ctypes.get_errno() == 38 else 1)
            if os.waitpid(pid, 0)[1] != 0:
                known.append(number)
        self.assertEqual(known, [], "this kernel has system calls that were never judged for agents")
        header = pathlib.Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
        if header.exists():
            numbers = [int(line.split()[2]) for line in header.read_text().splitlines() if line.startswith("#define __NR_") and line.split()[2].isdigit()]
            self.assertLessEqual(max(numbers), self.NEWEST)

    def test_the_number_is_the_one_in_the_source(self):
        self.assertIn(f"kNewestJudged = {self.NEWEST};", (ROOT / "libvault/sandbox/syscall_filter.cpp").read_text())


if __name__ == "__main__":
    main()
