"""Killed before and after every file write and every TPM command, and refused at each of them: afterwards the vault
opens, nothing that was acknowledged is missing, and nothing that was revoked works.

Faults come from outside: fault_io.c is preloaded, tpm_meddler.py stands between the program and a real swtpm. By default
a sample of the matrix is run; AGENTVAULT_FAULTS=all runs all of it and prints the number of cases.
"""
import errno
import itertools
import json
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
from harness import KEY, LIMIT, PROGRAM, Result, SystemTest, Vault, main, wait_for  # noqa: E402
from tpm_meddler import TpmMeddler  # noqa: E402

FAULT_IO = os.environ.get("AGENTVAULT_FAULT_IO", "")
ALL = os.environ.get("AGENTVAULT_FAULTS") == "all"
SAMPLE = 80  # cases of each kind
SECONDS_OF_COMPETITION = 60 if ALL else 10

# Response codes of reference tables: what a TPM says in each event that a user can meet.
REFUSALS = (0x100, 0x101, 0x120, 0x126, 0x128, 0x14A, 0x14B, 0x18B, 0x1C4, 0x1DF, 0x901, 0x902, 0x903, 0x920, 0x921, 0x922,
            0x98E, 0x9A2)

# name → (words, whether it is a barrier)
CHANGES = {
    "add": (["add", "fresh", "--url", "https://h.example", "--stdin"], False),
    "replace": (["add", "victim", "--replace", "--stdin"], True),
    "remove": (["remove", "victim"], True),
    "rotate": (["rotate"], True),
    "revoke-agent": (["revoke", "--agent", "default"], True),
    "revoke-all": (["revoke", "--all"], True),
    "recovery": (["recovery", "set", "--passphrase-file", "PASSPHRASE", "--new-passphrase-file", "PASSPHRASE2"], True),
    "pin": (["pin", "change", "--pin-file", "PIN", "--new-pin-file", "PIN2"], True),
}


class Scene:
    """A vault as it was before, to be put back before every case."""

    def __init__(self, test, tpm_name, pin):
        self.test, self.tpm_name, self.pin = test, tpm_name, pin
        self.folder = test.folder
        self.files = {"PASSPHRASE": self.private("passphrase", "correct horse battery staple"),
                      "PASSPHRASE2": self.private("passphrase2", "another long passphrase"),
                      "PIN": self.private("pin", "1357"), "PIN2": self.private("pin2", "2468")}
        self.vault = Vault(self.folder, tpm_name)
        self.backup = self.folder / "vault.backup"
        self.other = Vault(self.folder / "elsewhere", tpm_name)

    def private(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def words(self, words):
        return [str(self.files.get(word, word)) for word in words]

    def run(self, *words, vault=None, env=None, pin=None):
        words = self.words(words)
        if self.pin and words[0] in ("add", "remove", "rotate", "revoke", "recovery", "backup", "exec") and "--pin-file" not in words:
            words[1:1] = ["--pin-file", str(pin or self.files["PIN"])]
        return (vault or self.vault).run(*words, stdin=KEY, env=env)

    def build(self):
        ok = self.test.ok
        ok(self.run("init", "--tpm", self.tpm_name, "--new-passphrase-file", "PASSPHRASE", *(["--pin-file", "PIN"] if self.pin else [])))
        for name in ("keep", "victim"):
            ok(self.run("add", name, "--url", "https://h.example", "--env", name.upper(), "--stdin"))
        ok(self.run("backup", str(self.backup)))
        shutil.copytree(self.vault.path, self.folder / "before")
        shutil.copy(self.backup, self.folder / "before.backup")

    def reset(self):
        shutil.rmtree(self.vault.path, ignore_errors=True)
        shutil.rmtree(self.other.folder, ignore_errors=True)
        self.other.folder.mkdir()
        shutil.copytree(self.folder / "before", self.vault.path)
        shutil.copy(self.folder / "before.backup", self.backup)

    def put_old_database_back(self):
        for suffix in ("-wal", "-shm"):
            (self.vault.path / ("vault.db" + suffix)).unlink(missing_ok=True)
        shutil.copy(self.folder / "before" / "vault.db", self.vault.path / "vault.db")

    def status(self):
        return json.loads(self.test.ok(self.run("status", "--json")).out)

    def right_pin(self):
        """After a change of the PIN that was cut short, one of the two opens the vault."""
        if not self.pin:
            return None
        for pin in (self.files["PIN"], self.files["PIN2"]):
            if self.run("exec", "-q", "--", "true", pin=pin).code in (0, 4):
                return pin
        self.test.fail("neither PIN opens the vault")

    # --- what must hold afterwards

    def check_change(self, name, result, case):
        test = self.test
        acknowledged = result is not None and result.code == 0
        pin = self.right_pin()
        opened = self.run("exec", "-q", "--", "true", pin=pin)
        test.assertIn(opened.code, (0, 4), (case, opened))
        state = self.status()
        test.assertEqual(state["barrier"], "complete", case)
        names = {row["name"] for row in json.loads(self.run("list", "--json").out)}
        revoked = "default" in state["revoked agents"]
        done = {"add": "fresh" in names, "remove": "victim" not in names, "revoke-agent": revoked,
                "rotate": state["generation"] == 2, "revoke-all": state["generation"] == 2}.get(name, state["epoch"] > 1)
        if acknowledged:
            test.assertTrue(done, case)
        test.assertEqual(opened.code == 4, revoked, case)
        test.assertIn("keep", names, case)
        if name == "pin" and acknowledged:
            test.assertEqual(pin, self.files["PIN2"], case)
        if revoked:
            test.ok(self.run("revoke", "--agent", "default", "--lift", pin=pin))
        test.ok(self.run("exec", "-q", "--", "true", pin=pin))  # every credential decrypts
        if CHANGES[name][1] and done:
            self.put_old_database_back()
            code = self.run("exec", "-q", "--", "true", pin=pin).code
            test.assertEqual(code, 6, (case, "an old database opened"))

    def check_new_vault(self, vault, result, case, again):
        if result is not None and result.code == 0:
            self.test.assertTrue(vault.path.exists(), case)
        if not vault.path.exists():
            self.test.ok(again())
        self.test.ok(self.run("exec", "-q", "--", "true", vault=vault))

    def check_backup(self, result, case):
        changed = not self.backup.exists() or self.backup.read_bytes() != (self.folder / "before.backup").read_bytes()
        if result is not None and result.code == 0:
            self.test.assertTrue(changed, case)
        if changed:
            self.test.ok(self.restore())
        self.test.ok(self.run("exec", "-q", "--", "true"))

    def restore(self, env=None):
        return self.run("restore", str(self.backup), "--tpm", self.tpm_name, "--passphrase-file", "PASSPHRASE", *(["--pin-file", "PIN"] if self.pin else []),
                        vault=self.other, env=env)


class FaultTest(SystemTest):
    def cases(self, scene):
        """(name, run(env) → Result, check(result, case)) for every command that writes."""
        for name, (words, _) in CHANGES.items():
            # Every opening with a PIN costs a key stretching: only what differs with one is run with one.
            if (name == "pin") != scene.pin:
                continue
            yield name, lambda env, words=words: scene.run(*words, env=env), lambda r, c, name=name: scene.check_change(name, r, c)
        if scene.pin:
            return
        yield "backup", lambda env: scene.run("backup", str(scene.backup), env=env), scene.check_backup
        def init(env=None):
            return scene.run("init", "--tpm", scene.tpm_name, *(["--pin-file", "PIN"] if scene.pin else []), vault=scene.other, env=env)
        yield "init", init, lambda r, c: scene.check_new_vault(scene.other, r, c, init)
        yield "restore", scene.restore, lambda r, c: scene.check_new_vault(scene.other, r, c, scene.restore)

    def pick(self, kind, every_case):
        """All of them, or the same random few every time."""
        picked = list(every_case)
        random.Random(7).shuffle(picked)
        total = len(picked)
        if not ALL:
            picked = picked[:SAMPLE]
        begin = time.monotonic()
        for number, case in enumerate(picked, 1):
            yield case
            if number % 250 == 0 or number == len(picked):
                print(f"faults: {number} of {total} cases {kind} held, {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)

    def check_told(self, result, case):
        """Whatever went wrong was said, with a next step, and with an exit code of ours."""
        self.assertIn(result.code, (0, 1, 2, 3, 4, 5, 6, 7), (case, result))
        if result.code != 0:
            self.assertIn("agentvault: error: ", result.err, case)
            self.assertIn("hint: ", result.err, (case, result))
        self.assertNotIn(KEY, result.err + result.out, case)


class FileFaults(FaultTest):
    def run_matrix(self, pin):
        if not FAULT_IO:
            self.skipTest("SKIPPED: AGENTVAULT_FAULT_IO names no library")
        scene = Scene(self, "embedded", pin)
        scene.build()
        count_file = self.folder / "count"
        environment = {"LD_PRELOAD": FAULT_IO, "FAULT_DIR": str(self.folder)}
        cases = []
        for name, run, check in self.cases(scene):
            scene.reset()
            count_file.write_bytes(b"")
            self.ok(run({**environment, "FAULT_COUNT": str(count_file)}))
            self.assertGreater(count_file.stat().st_size, 0, name)
            cases += itertools.product([(name, run, check)], range(count_file.stat().st_size), ("before", "after", errno.ENOSPC, errno.EROFS))
        for (name, run, check), at, mode in self.pick("at file calls" + (" with a PIN" if pin else ""), cases):
            case = (name, "file call", at, mode)
            scene.reset()
            result = run({**environment, "FAULT_AT": str(at), "FAULT_MODE": str(mode)})
            if mode in ("before", "after"):
                self.assertIn(result.code, (-signal.SIGKILL, 0), (case, result))
            else:
                self.check_told(result, case)
            check(None if result.code < 0 else result, case)

    def test_every_file_call(self):
        self.run_matrix(pin=False)

    def test_every_file_call_with_a_pin(self):
        self.run_matrix(pin=True)


class TpmFaults(FaultTest):
    def test_every_tpm_command(self):
        tpm = self.swtpm()
        meddler = TpmMeddler(self.folder, tpm.path)
        self.addCleanup(meddler.stop)
        scene = Scene(self, meddler.name, pin=False)
        scene.build()
        tpm.stop()
        shutil.copytree(tpm.state, self.folder / "tpm-before")
        tpm.start()
        def reset(fault):
            tpm.stop()
            shutil.rmtree(tpm.state)
            shutil.copytree(self.folder / "tpm-before", tpm.state)
            tpm.start()
            scene.reset()
            meddler.reset(fault)
        faults = [("kill-before",), ("kill-after",), ("flip",), *(("refuse", code) for code in REFUSALS)]
        cases = []
        for name, run, check in self.cases(scene):
            reset(None)
            self.ok(run(None))
            cases += itertools.product([(name, run, check)], enumerate(meddler.codes), faults)
        for (name, run, check), (at, code), fault in self.pick("at TPM commands", cases):
            case = (name, "TPM command", at, hex(code), fault)
            reset(lambda number, _, at=at, fault=fault: fault if number == at else None)
            result = run(None)
            if meddler.victim_killed:
                self.assertEqual(result.code, -signal.SIGKILL, (case, result))
            else:
                self.check_told(result, case)
            meddler.reset()
            check(None if result.code < 0 else result, case)


class Competition(SystemTest):
    """Eight processes at once change, use and revoke: no update is lost, nobody waits for ever."""

    def compete(self, tpm):
        vault = self.vault(tpm)
        self.ok(vault.add("keep", "--provider", "openai"))
        end, failures, stored = time.monotonic() + SECONDS_OF_COMPETITION, [], set()
        done = {word: 0 for word in ("add", "exec", "rotate", "revoke")}
        def work(number):
            randomness = random.Random(number)
            for step in itertools.count():
                if time.monotonic() > end or failures:
                    return
                word = ("add", "exec", "rotate", "revoke")[(number + step) % 4] if step else "add"
                name = f"n{number}-{step}"
                words = {"add": ["add", name, "--url", "https://h.example", "--env", name.upper().replace("-", "_"), "--stdin"],
                         "exec": ["exec", "-q", "--with", "keep", "--", "true"],
                         "rotate": ["rotate"], "revoke": ["revoke", "--all"]}[word]
                result = vault.run(*words, stdin=KEY)
                # A session may be revoked while it starts; a queue of eight may be longer than anyone waits.
                patience = "is changing this vault" in result.err or "is using the" in result.err
                if result.code != 0 and not (word == "exec" and result.code in (4, -9, 137)) and not patience:
                    failures.append((words, result))
                if result.code == 0:
                    done[word] += 1
                    if word == "add":
                        stored.add(name)
                time.sleep(randomness.uniform(0, 0.02))  # so that they do not march in step
        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS_OF_COMPETITION + 2 * LIMIT)
            self.assertFalse(thread.is_alive(), "somebody waits for ever")
        self.assertEqual(failures, [])
        self.ok(vault.run("exec", "-q", "--with", "keep", "--", "true"))
        names = {row["name"] for row in json.loads(vault.run("list", "--json").out)}
        self.assertEqual(names, stored | {"keep"})
        state = json.loads(vault.run("status", "--json").out)
        self.assertGreaterEqual(state["generation"], 1 + done["rotate"])
        print(f"competition on {tpm.split(':')[0]}: {done}, no update lost", file=sys.stderr)

    def test_on_the_embedded_tpm(self):
        self.compete("embedded")

    def test_on_swtpm(self):
        self.compete(self.swtpm().name)


if __name__ == "__main__":
    main()
