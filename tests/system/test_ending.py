"""Nothing survives a session: whatever its processes are like, and whoever of ours is killed first."""
import os
import pathlib
import signal
import subprocess
import tempfile
import unittest

from cell import WALLS, IsolationTest
from harness import LIMIT, main, wait_for

LINGERERS = os.environ.get("AGENTVAULT_LINGERERS", "")
OLD_LANDLOCK = os.environ.get("AGENTVAULT_OLD_LANDLOCK", "")
# A sanitizer wants to come first otherwise.
WITH_OLD_LANDLOCK = {"LD_PRELOAD": OLD_LANDLOCK, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}
SHAPES = ("chain", "rabbits", "stopped", "tree")


def children(pid):
    return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@unittest.skipUnless(LINGERERS, "SKIPPED: AGENTVAULT_LINGERERS names no program; run this through ./dev test")
class EndingTest(IsolationTest):
    def start(self, level, *words, env=None, prefix=()):
        """The agent and whatever it leaves hold the pipe that is its standard output."""
        process = subprocess.Popen([*prefix, *map(str, self.v.argv("exec", "-q", "--isolation", level, "--", LINGERERS, *words))],
                                   env={**self.v.environment, **(env or {})}, cwd=self.project, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.addCleanup(process.stdout.close)
        self.addCleanup(lambda: process.poll() is None and (process.kill(), process.wait(LIMIT)))
        return process

    def nobody_is_left(self, process, what):
        """The end of the pipe comes when the last of them is gone."""
        os.set_blocking(process.stdout.fileno(), False)
        wait_for(lambda: process.stdout.read() == b"", what)

    def test_when_the_agent_ends(self):
        for level in WALLS:
            for shape in SHAPES:
                with self.subTest(level=level, shape=shape):
                    process = self.start(level, shape)
                    self.assertEqual(process.stdout.readline(), b"ready\n")
                    self.assertEqual(process.wait(LIMIT), 0)
                    self.nobody_is_left(process, f"{level}: the end of all {shape}")

    def test_when_exec_or_the_keeper_is_killed(self):
        for level in WALLS:
            for shape in SHAPES:
                for who in ("exec", "keeper"):
                    with self.subTest(level=level, shape=shape, killed=who):
                        process = self.start(level, shape, "wait")
                        self.assertEqual(process.stdout.readline(), b"ready\n")
                        (keeper,) = children(process.pid)
                        os.kill(process.pid if who == "exec" else keeper, signal.SIGKILL)
                        process.wait(LIMIT)
                        self.nobody_is_left(process, f"{level}: the end of all {shape}")

    def test_where_the_kernel_has_no_scopes_for_signals(self):
        # Building the longest takes half a minute.
        for shape in (*SHAPES, *(["longest"] if os.environ.get("AGENTVAULT_FAULTS") == "all" else [])):
            for how in ("end", "kill") if shape != "longest" else ("end",):
                with self.subTest(shape=shape, how=how):
                    process = self.start("standard", shape, *(["wait"] if how == "kill" else []), env=WITH_OLD_LANDLOCK)
                    self.assertEqual(process.stdout.readline(), b"ready\n")
                    if how == "kill":
                        process.kill()
                    process.wait(LIMIT)
                    self.nobody_is_left(process, f"the end of all {shape}")

    @unittest.skipUnless(os.geteuid() == 0, "SKIPPED: the limit of processes that this needs is another user's, which only root can be")
    def test_a_bomb_of_processes(self):
        """Of an ordinary user, whom the kernel stops at a number; and others of the user's go on."""
        user = 61203
        os.chmod(self.folder, 0o755)
        home = pathlib.Path(tempfile.mkdtemp(prefix="bomb-", dir=self.base))
        for path in (self.base, self.home):
            os.chmod(path, 0o755)
        os.chown(home, user, user)
        prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        environment = {**self.v.environment, "HOME": str(home), "AGENTVAULT_HOME": str(home / "vault")}
        self.v.environment = environment
        bystander = subprocess.Popen([*prefix, "sleep", "1000"])
        self.addCleanup(lambda: (bystander.kill(), bystander.wait(LIMIT)))
        subprocess.run([*prefix, *self.v.argv("init", "--tpm", "embedded")], env=environment, check=True, capture_output=True)
        for level in WALLS:
            for preload in ({}, WITH_OLD_LANDLOCK):
                with self.subTest(level=level, preload=bool(preload)):
                    process = self.start(level, "bomb", env=preload, prefix=prefix)
                    self.assertEqual(process.stdout.readline(), b"ready\n")
                    self.assertEqual(process.wait(LIMIT), 0)
                    self.nobody_is_left(process, f"{level}: the end of the bomb")
                    self.assertIsNone(bystander.poll())


if __name__ == "__main__":
    main()
