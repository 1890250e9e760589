"""Killed at any instant, a command leaves a vault that opens and has lost nothing that was acknowledged."""
import json
import os
import shutil
import random
import signal
import subprocess
import time

from harness import KEY, LIMIT, SystemTest, Vault, main


class KillTest(SystemTest):
    def kill_after(self, vault, delay, *words, stdin=""):
        process = subprocess.Popen(vault.argv(*words), env=vault.environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, text=True)
        try:
            process.stdin.write(stdin)
            process.stdin.close()
        except BrokenPipeError:
            pass
        end = time.monotonic() + delay
        while process.poll() is None and time.monotonic() < end:
            pass
        process.kill()
        return process.wait(LIMIT) == 0

    def span(self, command):
        begin = time.monotonic()
        command()
        return time.monotonic() - begin

    def test_add_replace_and_remove_killed_at_many_moments(self):
        vault = self.vault()
        self.ok(vault.add("keep", "--provider", "openai"))
        self.ok(vault.add("x", "--url", "https://h.example"))
        length = self.span(lambda: vault.add("x", "--replace"))
        randomness = random.Random(1)
        known = {"keep", "x"}
        for step in range(30):
            delay = randomness.uniform(0, 1.2 * length)
            name = f"n{step}"
            kind = step % 3
            if kind == 0:
                done = self.kill_after(vault, delay, "add", name, "--url", "https://h.example", "--stdin", stdin=KEY)
                known |= {name} if done else set()
            elif kind == 1:
                self.kill_after(vault, delay, "add", "x", "--replace", "--stdin", stdin=KEY)
            elif len(known) > 2:
                victim = sorted(known - {"keep", "x"})[0]
                known.discard(victim)  # killed or not, it may be gone
                self.kill_after(vault, delay, "remove", victim)
            self.ok(vault.run("exec", "-q", "--with", "keep", "--", "true"))
            names = {item["name"] for item in json.loads(vault.run("list", "--json").out)}
            self.assertLessEqual(known, names, f"step {step}")
        self.assertNotIn("incomplete", vault.run("status").out)

    def test_init_killed_at_many_moments(self):
        probe = Vault(self.folder / "probe")
        (self.folder / "probe").mkdir()
        length = self.span(probe.init)
        for step in range(12):
            folder = self.folder / f"v{step}"
            folder.mkdir()
            vault = Vault(folder)
            self.kill_after(vault, 1.2 * length * step / 12, "init", "--tpm", "embedded")
            if not vault.path.exists():
                self.ok(vault.init())
            self.ok(vault.run("exec", "-q", "--", "true"))


class DiskTest(SystemTest):
    def setUp(self):
        super().setUp()
        if os.getuid() != 0:
            self.skipTest("SKIPPED: mounting needs root")
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=0755", "tmpfs", self.disk], capture_output=True).returncode != 0:
            self.skipTest("SKIPPED: cannot mount a tmpfs here")
        self.addCleanup(subprocess.run, ["umount", "-l", self.disk])

    def fill(self):
        filler = self.disk / "filler"
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
        return filler

    def test_what_is_revoked_on_a_full_disk_stays_revoked(self):
        for target, keeps in (("--agent=default", True), ("--all", False)):
            vault = Vault(self.disk / target.strip("-").split("=")[0])
            vault.path.parent.mkdir()
            self.ok(vault.init())
            self.ok(vault.add("openai"))
            session = self.session(vault)
            filler = self.fill()
            result = vault.run("revoke", target)
            self.refused(result, 1, "sessions are stopped, but older copies of the vault still open", "is the disk full")
            self.assert_error(session.request("GET", "/openai/x"), 401, "session_revoked")
            self.assertNotEqual(vault.run("exec", "--", "true").code, 0)
            filler.unlink()
            if keeps:
                self.refused(vault.run("exec", "--", "true"), 4, "is revoked", "--lift")
            else:
                self.ok(vault.run("exec", "-q", "--", "true"))
                self.assertEqual(json.loads(vault.run("status", "--json").out)["generation"], 2)
            self.assertEqual((vault.path / "revocations").read_bytes(), bytes(4096))
            session.stop()
            shutil.rmtree(vault.path)

    def test_where_nothing_can_be_written_sessions_are_stopped_all_the_same(self):
        vault = Vault(self.disk)
        self.ok(vault.init())
        self.ok(vault.add("openai"))
        session = self.session(vault)
        result = subprocess.run(["bash", "-c", 'ulimit -f 0; exec "$@"', "bash", *map(str, vault.argv("revoke", "--all"))], env=vault.environment, capture_output=True, text=True)
        self.assertEqual(result.returncode, 1, result)
        self.assertIn("all sessions are stopped, but nothing is revoked", result.stderr)
        self.assertIn("then run this again", result.stderr)
        self.assert_error(session.request("GET", "/openai/x"), 401, "session_revoked")
        self.ok(vault.run("revoke", "--all"))

    def test_a_full_disk_loses_nothing_and_says_so(self):
        vault = Vault(self.disk)
        self.ok(vault.init())
        self.ok(vault.add("keep", "--provider", "openai"))
        filler = self.fill()
        for words in (["add", "more", "--url", "https://h.example", "--stdin"], ["add", "keep", "--replace", "--stdin"], ["remove", "keep"]):
            result = vault.run(*words, stdin=KEY)
            self.assertNotEqual(result.code, 0)
            self.assertIn("agentvault: error: ", result.err)
            self.assertIn("hint: ", result.err)
        filler.unlink()
        self.ok(vault.run("exec", "-q", "--with", "keep", "--", "true"))

    def test_a_read_only_vault_is_told(self):
        vault = Vault(self.disk)
        self.ok(vault.init())
        self.ok(vault.add("keep", "--provider", "openai"))
        subprocess.run(["mount", "-o", "remount,ro", self.disk], check=True)
        for words in (["add", "more", "--url", "https://h.example", "--stdin"], ["remove", "keep"], ["exec", "--", "true"]):
            result = vault.run(*words, stdin=KEY)
            self.assertNotEqual(result.code, 0)
            self.assertIn("ead-only", result.err)
        subprocess.run(["mount", "-o", "remount,rw", self.disk], check=True)
        self.ok(vault.run("exec", "-q", "--with", "keep", "--", "true"))


if __name__ == "__main__":
    main()
