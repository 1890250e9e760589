"""The system-wide installation: set-group-ID, vaults where other programs of the same user do not get. Needs root to set up;
everything is then run as an ordinary user."""
import contextlib
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

from harness import KEY, LIMIT, PROGRAM, ROOT, Certificate, Upstream, main, wait_for

USER, GROUP = 61201, 61202
STATE = pathlib.Path("/var/lib/agentvault")


@unittest.skipUnless(os.geteuid() == 0 and not STATE.exists(),
                     "SKIPPED: a set-group-ID program can only be made by root, on a machine without an installation")
class InstalledTest(unittest.TestCase):
    def setUp(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="agentvault-installed-"))
        self.addCleanup(shutil.rmtree, self.home, True)
        self.home.chmod(0o755)
        self.program = self.home / "agentvault"
        shutil.copy(PROGRAM, self.program)
        os.chown(self.program, 0, GROUP)
        self.program.chmod(0o2755)
        STATE.mkdir()
        self.addCleanup(shutil.rmtree, STATE, True)
        os.chown(STATE, 0, GROUP)
        STATE.chmod(0o1770)
        self.own = self.home / "home"
        self.own.mkdir()
        os.chown(self.own, USER, USER)
        self.certificate = Certificate(self.home)
        self.certificate.pem.chmod(0o644)
        self.up = Upstream(self.certificate)
        self.addCleanup(self.up.stop)

    def user(self, *words, stdin="", env=None, **options):
        """As the user, with no group but its own."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.own), **(env or {})}
        return subprocess.run([str(word) for word in words], input=stdin, env=environment, cwd=self.own, text=True, capture_output=True, timeout=LIMIT,
                              user=USER, group=USER, extra_groups=[], **options)

    def vault(self, *words, **options):
        return self.user(self.program, *words, **options)

    def ok(self, done):
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def ready(self):
        self.ok(self.vault("init", "--tpm", "embedded"))
        self.ok(self.vault("add", "api", "--url", self.up.url, "--ca-file", self.certificate.pem, "--env", "API_KEY", "--stdin", stdin=KEY))

    ASK = """
import os, urllib.request
request = urllib.request.Request(os.environ["AGENTVAULT_URL"] + "/api/x", headers={"Authorization": "Bearer " + os.environ["API_KEY"]})
print(urllib.request.urlopen(request, timeout=30).status)
"""

    def test_the_main_job_at_every_level(self):
        self.ready()
        self.assertEqual(sorted(p.name for p in STATE.iterdir()), [str(USER)])
        info = (STATE / str(USER)).stat()
        self.assertEqual((info.st_uid, info.st_mode & 0o777), (USER, 0o700))
        for level in ("strict", "standard", "off"):
            with self.subTest(level):
                done = self.ok(self.vault("exec", "--isolation", level, "--", sys.executable, "-c", self.ASK))
                self.assertEqual(done.stdout, "200\n", done.stderr)
                self.assertEqual(self.up.header(-1, "Authorization"), "Bearer " + KEY)
        self.assertEqual(list((STATE / str(USER) / "sessions").iterdir()), [])
        shown = json.loads(self.ok(self.vault("--json", "status")).stdout)
        self.assertEqual((shown["vault"], shown["credentials"]), (str(STATE / str(USER)), 1))
        self.ok(self.vault("revoke", "--all"))
        self.ok(self.vault("list"))
        file = self.own / "p.toml"
        file.write_text("version = 1\n[agents.default]\nbudget = { requests_per_day = 0 }\n")
        self.ok(self.vault("policy", "apply", file))
        done = self.vault("exec", "--isolation", "off", "--", sys.executable, "-c", self.ASK)
        self.assertIn("403", done.stderr)
        self.ok(self.vault("remove", "api"))

    def test_other_programs_of_the_user_do_not_reach_the_vault(self):
        self.ready()
        for words in (["cat", STATE / str(USER) / "vault.db"], ["ls", STATE], ["ls", STATE / str(USER)], ["touch", STATE / "x"],
                      ["mv", STATE / str(USER), STATE / "moved"], ["chmod", "777", STATE / str(USER)]):
            done = self.user(*words)
            self.assertNotEqual(done.returncode, 0, words)
            self.assertIn("Permission denied", done.stderr)
        other = self.user(PROGRAM, "--vault", STATE / str(USER), "list")
        self.assertNotEqual(other.returncode, 0)
        # Files that a user names are opened with the user's own rights.
        inside = STATE / str(USER) / "vault.db"
        for words in (["policy", "check", inside], ["add", "x", "--url", "https://x.example", "--ca-file", inside, "--stdin"],
                      ["--pin-file", inside, "rotate"], ["restore", inside]):
            done = self.vault(*words, stdin=KEY)
            self.assertNotEqual(done.returncode, 0, words)
            self.assertNotIn("SQLite format", done.stderr + done.stdout)

    def test_the_environment_and_vault_are_ignored_and_no_command_is_run(self):
        self.ready()
        trap = self.own / "trap"
        os.mkdir(trap)
        os.chown(trap, USER, USER)
        done = self.ok(self.vault("--json", "list", env={"AGENTVAULT_HOME": str(trap), "XDG_DATA_HOME": str(trap)}))
        self.assertEqual([row["name"] for row in json.loads(done.stdout)], ["api"])
        done = self.vault("--vault", trap, "list")
        self.assertEqual((done.returncode, "keeps vaults in /var/lib/agentvault" in done.stderr), (2, True), done.stderr)
        done = self.vault("--tpm", f"cmd:touch {trap}/ran", "rotate")
        self.assertEqual((done.returncode, "no TPM through a command" in done.stderr), (2, True), done.stderr)
        log = trap / "tss.log"
        self.ok(self.vault("rotate", env={"TSS2_LOG": "all+TRACE", "TSS2_LOGFILE": str(log), "LD_PRELOAD": str(trap / "none.so")}))
        self.assertEqual(list(trap.iterdir()), [])

    def test_only_the_opener_keeps_the_group(self):
        """The groups of every process of a session, and that the agent gets it by no way."""
        self.ready()
        script = f"""
import os, subprocess, sys
print(os.getresgid(), os.getgroups())
done = subprocess.run([{str(self.program)!r}, "list"], capture_output=True, text=True, env={{"HOME": os.environ["HOME"], "PATH": os.environ["PATH"]}})
print(done.returncode != 0)
print(open("/proc/self/status").read().split("NoNewPrivs:")[1].split()[0], flush=True)
sys.stdin.read()
"""
        for level in ("strict", "standard", "off"):
            with self.subTest(level):
                process = subprocess.Popen([self.program, "exec", "-q", "--isolation", level, "--share", self.program, "--", sys.executable, "-c", script], user=USER, group=USER,
                                           extra_groups=[], cwd=self.own, env={"PATH": os.environ["PATH"], "HOME": str(self.own)},
                                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                self.assertEqual(process.stdout.readline(), f"({USER}, {USER}, {USER}) []\n")
                # Without walls the program works for the agent as it does for the user.
                self.assertEqual(process.stdout.readline(), "False\n" if level == "off" else "True\n")
                self.assertEqual(process.stdout.readline(), "0\n" if level == "off" else "1\n")
                family = [process.pid]
                for pid in os.listdir("/proc"):
                    if pid.isdigit():
                        try:
                            parent = int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1])
                        except OSError:
                            continue
                        if parent in family:
                            family.append(int(pid))
                self.assertGreaterEqual(len(family), 2)
                for pid in family:
                    groups = [line for line in open(f"/proc/{pid}/status") if line.startswith("Gid:")][0].split()[1:]
                    self.assertEqual(set(groups), {str(USER)}, open(f"/proc/{pid}/comm").read())
                denied = self.user("cat", f"/proc/{process.pid}/environ")
                self.assertNotEqual(denied.returncode, 0)
                process.stdin.close()
                self.assertEqual(process.wait(LIMIT), 0)
                process.stdout.close()

    THIEF = r"""
import os, sys
root, tries, taken = int(sys.argv[1]), 0, 0
print("ready", flush=True)
def family(pid):
    yield pid
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in open(f"/proc/{pid}/task/{task}/children").read().split():
                yield from family(child)
    except OSError:
        pass
def attempt(path):
    global tries, taken
    tries += 1
    for flags in (os.O_RDWR, os.O_RDONLY):
        try:
            os.close(os.open(path, flags))
        except OSError:
            continue
        taken += 1
        print("TAKEN", path, flush=True)
        return
while os.path.exists(f"/proc/{root}"):
    for pid in family(root):
        # The descriptor of the vault's folder is the first of those from 20 on; the others are for any that is passed on.
        for place in ("fd/20", "fd/21", "fd/3", "fd/4", "fd/5", "cwd"):
            attempt(f"/proc/{pid}/{place}/vault.db")
        attempt(f"/proc/{pid}/mem")
print("tries", tries, "taken", taken, flush=True)
"""

    def test_a_thief_gets_nothing_out_of_any_command(self):
        """Another program of the user, which tries again and again, while each command runs, to follow what its processes hold."""
        self.ready()
        policy = self.own / "p.toml"
        policy.write_text("version = 1\n[agents.default]\n")
        commands = [["exec", "-q", "--isolation", level, "--", "true"] for level in ("off", "standard", "strict")]
        commands += [["list"], ["show", "api"], ["status"], ["doctor"], ["sessions"], ["rotate"], ["policy", "apply", policy], ["policy", "show"],
                     ["doctor", "--probe", "api"], ["revoke", "--all"], ["backup", self.own / "b"], ["remove", "none"], ["provider", "list"]]
        for words in commands:
            with self.subTest(" ".join(map(str, words))):
                tries = 0
                for _ in range(200):
                    # Stopped until the thief is there; the program begins in the same process.
                    process = subprocess.Popen(["sh", "-c", 'read line; exec "$@"', "sh", str(self.program), *map(str, words)], stdin=subprocess.PIPE,
                                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=USER, group=USER, extra_groups=[], cwd=self.own,
                                               env={"PATH": os.environ["PATH"], "HOME": str(self.own)})
                    thief = subprocess.Popen([sys.executable, "-c", self.THIEF, str(process.pid)], stdout=subprocess.PIPE, text=True, user=USER, group=USER,
                                             extra_groups=[], cwd="/")
                    self.assertEqual(thief.stdout.readline(), "ready\n")
                    process.communicate(b"\n", timeout=LIMIT)
                    out = thief.communicate(timeout=LIMIT)[0]
                    stolen = [line for line in out.splitlines() if line.startswith("TAKEN") and not line.endswith("/mem")]
                    self.assertEqual(stolen, [])
                    tries += int(out.split("tries ")[1].split()[0])
                    if tries >= 1000:
                        break
                self.assertGreaterEqual(tries, 1000)

    def test_no_command_leaves_a_core_dump(self):
        self.ready()
        pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip()
        if pattern.startswith("|") or "/" in pattern:
            self.skipTest("SKIPPED: core dumps of this machine do not go into the working directory: " + pattern)
        folder = self.own / "cores"
        folder.mkdir()
        os.chown(folder, USER, USER)
        for program in (self.program, PROGRAM):
            for words in (["list"], ["show", "api"], ["status"]):
                # It waits for somebody to read what it says, with pages of the database in its memory.
                reads, writes = os.pipe()
                os.set_blocking(writes, False)
                with contextlib.suppress(BlockingIOError):
                    while os.write(writes, b"x" * 4096):
                        pass
                os.set_blocking(writes, True)
                # Not a set-group-ID program, which leaves none anyway: only the vault is the same.
                where = [] if program == self.program else ["--vault", self.own / "vault"]
                if where and not where[1].exists():
                    self.ok(self.user(PROGRAM, *where, "init", "--tpm", "embedded"))
                    self.ok(self.user(PROGRAM, *where, "add", "api", "--url", self.up.url, "--stdin", stdin=KEY))
                process = subprocess.Popen([program, *where, *words], stdout=writes, user=USER, group=USER, extra_groups=[],
                                           cwd=folder, env={"PATH": os.environ["PATH"], "HOME": str(self.own)},
                                           preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2))
                os.close(writes)
                wait_for(lambda: "pipe_write" in pathlib.Path(f"/proc/{process.pid}/wchan").read_text(), "its first line")
                os.kill(process.pid, signal.SIGABRT)
                process.wait(LIMIT)
                os.close(reads)
                self.assertEqual(list(folder.iterdir()), [])

    def test_without_a_vault_it_says_so(self):
        done = self.vault("list")
        self.assertEqual((done.returncode, f"no vault at {STATE}/{USER}" in done.stderr), (3, True), done.stderr)
        done = self.ok(self.vault("exec", "--take", "OPENAI_API_KEY", "--isolation", "standard", "--", "true", env={"OPENAI_API_KEY": KEY}))


class PackageFilesTest(unittest.TestCase):
    def test_they_name_one_group_one_folder_and_the_program(self):
        read = lambda name: (ROOT / "cmake/package" / name).read_text()
        self.assertRegex(read("sysusers.conf"), r"(?m)^g agentvault ")
        self.assertRegex(read("tmpfiles.conf"), r"(?m)^d /var/lib/agentvault 1770 root agentvault ")
        self.assertIn("g:agentvault:rw", read("udev.rules"))
        self.assertIn("userns,", read("apparmor"))
        self.assertIn("profile agentvault /usr/bin/agentvault flags=(unconfined)", read("apparmor"))

    @unittest.skipUnless(pathlib.Path("/etc/apparmor.d/abi/4.0").exists(), "SKIPPED: no AppArmor 4, whose rule this is, here")
    def test_the_profile_parses(self):
        done = subprocess.run(["apparmor_parser", "--skip-kernel-load", "--skip-cache", ROOT / "cmake/package/apparmor"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    main()
