"""The whole program against a real swtpm server: the main job, the number of commands, PIN and lock-out, faults."""
import json
import pathlib
import shutil
import subprocess
import sys
import threading

from harness import KEY, LIMIT, SystemTest, Vault, main, wait_for
from raw_tpm import FIRST_INDEX, RawTpm
from tpm_meddler import TpmMeddler

PROXY = pathlib.Path(__file__).with_name("tpm_proxy.py")
FLUSH, NV_READ, NV_EXTEND, NV_INCREMENT, UNSEAL, POLICY_NV, LOAD, START_SESSION = "165", "14e", "136", "134", "15e", "149", "157", "176"


class SwtpmTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.tpm = self.swtpm()
        self.log = self.folder / "commands"
        self.pin = self.folder / "pin"
        self.pin.write_text("2468")
        self.pin.chmod(0o600)
        self.wrong = self.folder / "wrong"
        self.wrong.write_text("1111")
        self.wrong.chmod(0o600)

    def proxy(self, *options):
        return "cmd:" + " ".join(map(str, [sys.executable, PROXY, self.tpm.path, f"log={self.log}", *options]))

    def commands(self):
        sent = self.log.read_text().split() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [code for code in sent if code != FLUSH]

    def epoch(self, vault):
        return json.loads(vault.run("status", "--json").out)["epoch"]

    def test_the_main_job(self):
        upstream = self.upstream()
        vault = self.vault(self.tpm.name)
        self.ok(vault.add("api", "--url", upstream.url, "--ca-file", self.certificate.pem))
        session = self.session(vault)
        self.assertEqual(session.request("GET", "/api/x")[0], 200)
        self.assertEqual(upstream.header(0, "Authorization"), "Bearer " + KEY)
        self.assertIn("swtpm emulator", vault.run("exec", "--", "true").err)

    def test_exec_sends_four_commands(self):
        vault = self.vault(self.tpm.name)
        self.ok(vault.add("openai"))
        self.ok(vault.run("--tpm", self.proxy(), "exec", "-q", "--", "true"))
        self.assertEqual(self.commands(), [START_SESSION, POLICY_NV, LOAD, UNSEAL])

    def test_exec_with_a_pin_sends_five(self):
        vault = Vault(self.folder, self.tpm.name)
        self.ok(vault.init("--pin-file", self.pin))
        self.ok(vault.run("exec", "-q", "--pin-file", self.pin, "--", "true"))  # the first one after a reset may be asked twice
        self.ok(vault.run("--tpm", self.proxy(), "exec", "-q", "--pin-file", self.pin, "--", "true"))
        self.assertEqual(len(self.commands()), 5)

    def test_many_runs_leave_nothing_behind_in_the_tpm(self):
        vault = self.vault(self.tpm.name)
        self.ok(vault.add("openai"))
        for _ in range(8):
            self.ok(vault.run("exec", "-q", "--", "true"))
            self.ok(vault.add("openai", "--replace"))

    def test_leftovers_of_the_dead_are_cleaned_up(self):
        vault = self.vault(self.tpm.name)
        self.ok(vault.add("openai"))
        for _ in range(6):  # three sessions and three objects fill it
            self.assertNotEqual(vault.run("--tpm", self.proxy(f"die={UNSEAL}"), "exec", "-q", "--", "true").code, 0)
        self.ok(vault.run("exec", "-q", "--", "true"))

    def test_the_counter_survives_a_restart_of_the_tpm(self):
        vault = self.vault(self.tpm.name)
        self.ok(vault.add("openai"))
        old = (vault.path / "vault.db").read_bytes()
        self.ok(vault.run("remove", "openai"))
        self.tpm.stop()
        self.tpm.start()
        self.ok(vault.run("exec", "-q", "--", "true"))
        (vault.path / "vault.db").write_bytes(old)
        self.refused(vault.run("exec", "--", "true"), 6, "older than the TPM's epoch", "newest copy")

    def test_a_wrong_pin_and_then_the_lock_out(self):
        vault = Vault(self.folder, self.tpm.name)
        self.ok(vault.init("--pin-file", self.pin))
        self.ok(vault.add("openai", "--pin-file", self.pin))
        self.refused(vault.run("exec", "--pin-file", self.wrong, "--", "true"), 5, "wrong PIN", "try again")
        self.ok(vault.run("exec", "-q", "--pin-file", self.pin, "--", "true"))
        def locked():
            result = vault.run("exec", "--pin-file", self.wrong, "--", "true")
            self.assertEqual(result.code, 5, result)
            return result if "locked out" in result.err else None
        self.refused(wait_for(locked, "the lock-out"), 5, "locked out", "wait")
        self.refused(vault.run("exec", "--pin-file", self.pin, "--", "true"), 5, "locked out", "wait 1000s: it forgets one of 3 failures")
        self.ok(vault.run("list"))

    def test_a_server_that_is_gone(self):
        vault = self.vault(self.tpm.name)
        self.tpm.stop()
        self.refused(vault.run("exec", "--", "true"), 7, "cannot reach the swtpm server", "is it running")
        self.tpm.start()
        self.ok(vault.run("exec", "-q", "--", "true"))

    def test_another_tpm_and_a_cleared_one(self):
        vault = self.vault(self.tpm.name)
        self.tpm.stop()
        (self.tpm.state / "tpm2-00.permall").unlink()
        self.tpm.start()
        result = vault.run("exec", "--", "true")
        self.assertEqual(result.code, 7, result)
        self.assertIn("hint: ", result.err)

    def test_a_barrier_that_is_cut_short_is_finished_by_the_next_command(self):
        vault = self.vault(self.tpm.name)
        self.ok(vault.add("openai"))
        before = self.epoch(vault)
        old = (vault.path / "vault.db").read_bytes()
        result = vault.run("--tpm", self.proxy(f"fail={NV_INCREMENT}:101"), "remove", "openai")
        self.refused(result, 7, "older copies of the vault still open", "finishes it")
        self.assertIn("incomplete", vault.run("status").out)
        self.ok(vault.run("exec", "-q", "--", "true"))
        self.assertIn("complete", vault.run("status").out)
        self.assertNotIn("incomplete", vault.run("status").out)
        self.assertEqual(self.epoch(vault), before + 1)
        (vault.path / "vault.db").write_bytes(old)
        self.refused(vault.run("exec", "--", "true"), 6, "older than the TPM's epoch", "newest copy")

    def interrupted_removal(self, vault, name, at):
        """The database with `name` removed, cut short at one TPM command; the vault is as it was before."""
        old = (vault.path / "vault.db").read_bytes()
        self.assertEqual(vault.run("--tpm", self.proxy(f"fail={at}:101"), "remove", name).code, 7)
        staged = (vault.path / "vault.db").read_bytes()
        (vault.path / "vault.db").write_bytes(old)
        return staged

    def test_an_interrupted_change_cannot_take_the_place_of_a_later_one(self):
        vault = self.vault(self.tpm.name)
        for name in ("one", "two", "three"):
            self.ok(vault.add(name, "--provider", "openai"))
        staged = [self.interrupted_removal(vault, "one", at) for at in (NV_EXTEND, NV_INCREMENT, NV_EXTEND)]
        self.ok(vault.run("remove", "two"))  # of the same epoch as all of those
        newest = (vault.path / "vault.db").read_bytes()
        for stage in staged:
            (vault.path / "vault.db").write_bytes(stage)
            self.refused(vault.run("exec", "--", "true"), 6, "unfinished change that another one has overtaken", "newest copy")
            self.refused(vault.run("add", "new", "--provider", "openai", "--stdin", stdin=KEY), 6, "overtaken", "newest copy")
        (vault.path / "vault.db").write_bytes(newest)
        self.assertEqual({c["name"] for c in json.loads(vault.run("list", "--json").out)}, {"one", "three"})
        self.ok(vault.run("exec", "-q", "--with", "one", "--", "true"))

    def test_what_decides_about_a_stage_must_be_readable(self):
        vault = self.vault(self.tpm.name)
        for name in ("one", "two"):
            self.ok(vault.add(name, "--provider", "openai"))
        stage = self.interrupted_removal(vault, "one", NV_EXTEND)
        self.ok(vault.run("remove", "two"))
        (vault.path / "vault.db").write_bytes(stage)
        for code in ("101", "922", "14a", "18b", "120"):
            result = vault.run("--tpm", self.proxy(f"fail={NV_READ}:{code}"), "exec", "-q", "--", "true")
            self.assertIn(result.code, (6, 7), result)
        RawTpm(self.tpm.path).undefine(FIRST_INDEX + 1)
        self.refused(vault.run("exec", "-q", "--", "true"), 7, "deleted from the TPM", "restore")

    def test_a_late_entry_in_the_register_revives_nothing(self):
        """Two processes, in two copies of one vault, without the lock that swtpm's socket would give them."""
        meddlers = []
        for name in ("a", "b"):
            (self.folder / name).mkdir()
            meddlers.append(TpmMeddler(self.folder / name, self.tpm.path))
            self.addCleanup(meddlers[-1].stop)
        first, second = meddlers
        vault = Vault(self.folder, first.name)
        self.ok(vault.init())
        for name in ("one", "two"):
            self.ok(vault.add(name, "--provider", "openai"))
        copy = Vault(self.folder / "b", second.name)
        shutil.copytree(vault.path, copy.path)
        reached, go = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]
        def hold_increment(number, code):
            if code == int(NV_INCREMENT, 16):
                reached[0].set()
                go[0].wait(LIMIT)
        def hold_extend(number, code):
            if code == int(NV_EXTEND, 16):
                reached[1].set()
                go[1].wait(LIMIT)
                return ("kill-after",)
        first.fault, second.fault = hold_increment, hold_extend
        one = subprocess.Popen(vault.argv("remove", "one"), env=vault.environment, stderr=subprocess.DEVNULL)
        self.assertTrue(reached[0].wait(LIMIT))
        two = subprocess.Popen(copy.argv("--tpm", second.name, "remove", "two"), env=copy.environment, stderr=subprocess.DEVNULL)
        self.assertTrue(reached[1].wait(LIMIT))
        go[0].set()
        self.assertEqual(one.wait(LIMIT), 0)
        go[1].set()
        self.assertEqual(two.wait(LIMIT), -9)
        first.reset()
        second.reset()
        newest = (vault.path / "vault.db").read_bytes()
        self.refused(copy.run("--tpm", second.name, "exec", "--", "true"), 6, "overtaken", "newest copy")
        shutil.copy(copy.path / "vault.db", vault.path / "vault.db")
        self.refused(vault.run("exec", "--", "true"), 6, "overtaken", "newest copy")
        (vault.path / "vault.db").write_bytes(newest)
        self.ok(vault.run("exec", "-q", "--with", "two", "--", "true"))
        self.ok(vault.run("rotate"))

    def test_a_process_that_has_opened_an_old_copy_cannot_carry_it_over_a_newer_barrier(self):
        (self.folder / "b").mkdir()
        meddler = TpmMeddler(self.folder / "b", self.tpm.path)
        self.addCleanup(meddler.stop)
        vault = self.vault(self.tpm.name)
        for name in ("one", "two"):
            self.ok(vault.add(name, "--provider", "openai"))
        copy = Vault(self.folder / "b", meddler.name)
        shutil.copytree(vault.path, copy.path)
        reached, go = threading.Event(), threading.Event()
        self.addCleanup(go.set)
        def hold(number, code):
            if UNSEAL in [f"{c:x}" for c in meddler.codes[:number]] and not reached.is_set():
                reached.set()
                go.wait(LIMIT)
        meddler.fault = hold
        old = subprocess.Popen(copy.argv("--tpm", meddler.name, "remove", "two"), env=copy.environment, stderr=subprocess.PIPE, text=True)
        self.addCleanup(old.stderr.close)
        self.assertTrue(reached.wait(LIMIT))
        self.ok(vault.run("remove", "one"))
        go.set()
        self.assertEqual(old.wait(LIMIT), 6)
        self.refused(copy.run("exec", "--", "true"), 6, "older than the TPM's epoch", "newest copy")
        self.ok(vault.run("exec", "-q", "--with", "two", "--", "true"))

    def test_of_two_interrupted_changes_one_is_finished(self):
        vault = self.vault(self.tpm.name)
        for name in ("one", "two"):
            self.ok(vault.add(name, "--provider", "openai"))
        first = self.interrupted_removal(vault, "one", NV_EXTEND)
        second = self.interrupted_removal(vault, "two", NV_INCREMENT)
        (vault.path / "vault.db").write_bytes(second)
        self.ok(vault.run("exec", "-q", "--with", "one", "--", "true"))
        (vault.path / "vault.db").write_bytes(first)
        self.refused(vault.run("exec", "--", "true"), 6, "overtaken", "newest copy")

    def test_nothing_is_built_on_an_unfinished_barrier(self):
        vault = self.vault(self.tpm.name)
        self.ok(vault.add("one", "--provider", "openai"))
        self.ok(vault.add("two", "--provider", "github"))
        fail = self.proxy(f"fail={NV_INCREMENT}:101")
        self.assertEqual(vault.run("--tpm", fail, "remove", "one").code, 7)
        self.assertEqual(vault.run("--tpm", fail, "add", "new", "--url", "https://h.example", "--stdin", stdin=KEY).code, 7)
        self.assertEqual(vault.run("--tpm", fail, "remove", "two").code, 7)
        served = vault.run("--tpm", fail, "exec", "-q", "--", "env")
        self.ok(served)
        self.assertIn("incomplete", served.err)
        self.assertNotIn("OPENAI_API_KEY=", served.out)  # the newer state is served, never the older one
        self.assertIn("GITHUB_TOKEN=agv_", served.out)
        self.ok(vault.add("new", "--url", "https://h.example"))
        self.assertEqual({c["name"] for c in json.loads(vault.run("list", "--json").out)}, {"two", "new"})

    def test_a_destroyed_vault_leaves_nothing_in_the_tpm(self):
        raw = RawTpm(self.tpm.path)
        other = Vault(self.folder / "other", self.tpm.name)
        other.path.parent.mkdir()
        self.ok(other.init())
        before = raw.indices()
        for with_password in (False, True):
            vault = Vault(self.folder, self.tpm.name)
            password = self.folder / "owner"
            password.write_text("owner secret")
            password.chmod(0o600)
            self.ok(vault.init())
            copy = self.folder / "copy"
            shutil.copytree(vault.path, copy)
            self.assertEqual(len(raw.indices()), len(before) + 2)
            if with_password:
                raw.set_owner_password(b"owner secret")
                self.refused(vault.run("destroy", "--yes"), 5, "there is no terminal", "--owner-password-file")
            self.ok(vault.run("destroy", "--yes", *(["--owner-password-file", password] if with_password else [])))
            self.assertEqual(raw.indices(), before)
            self.assertFalse(vault.path.exists())
            shutil.copytree(copy, vault.path)
            self.refused(vault.run("exec", "--", "true"), 7, "counter was deleted")
            shutil.rmtree(vault.path)
            shutil.rmtree(copy)
        self.ok(other.run("exec", "-q", "--", "true"))

    def test_each_failing_command_of_init_leaves_no_vault_and_no_index(self):
        meddler = TpmMeddler(self.folder, self.tpm.path)
        self.addCleanup(meddler.stop)
        vault = Vault(self.folder, meddler.name)
        self.ok(vault.init())
        count = len(meddler.codes)
        vault.path.rename(self.folder / "first")
        before = RawTpm(self.tpm.path).indices()
        meddler.reset()
        for at in range(count):
            meddler.reset(lambda number, code: ("refuse", 0x101) if number == at else None)
            result = vault.init()
            if result.code == 0:  # with a storage root key in place some commands are not needed
                break
            self.assertEqual(result.code, 7, result)
            self.assertFalse(vault.path.exists())
            self.assertEqual(RawTpm(self.tpm.path).indices(), before)
        self.assertGreater(at, 15)
        meddler.reset()

    def test_a_vault_is_not_made_on_a_command(self):
        vault = Vault(self.folder, self.tpm.name)
        self.refused(vault.run("init", "--tpm", self.proxy()), 2, "cannot be made on a cmd: TPM", "swtpm:")

    def test_a_stored_command_is_never_run(self):
        import sqlite3
        vault = self.vault(self.tpm.name)
        marker = self.folder / "ran"
        with sqlite3.connect(vault.path / "vault.db") as database:
            database.execute("UPDATE vault SET tpm = ?", (f"cmd:touch {marker}",))
        for words in (["exec", "--", "true"], ["status"], ["remove", "x"]):
            self.assertEqual(vault.run(*words).code, 6)
        self.assertFalse(marker.exists())

    def test_several_processes_at_once_lose_nothing(self):
        vault = self.vault(self.tpm.name)
        results = []
        def work(number):
            for step in range(4):
                results.append(vault.add(f"k{number}-{step}", "--url", "https://h.example"))
                results.append(vault.run("exec", "-q", "--", "true"))
        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT * 2)
        for result in results:
            self.ok(result)
        self.assertEqual(len(json.loads(vault.run("list", "--json").out)), 16)


if __name__ == "__main__":
    main()
