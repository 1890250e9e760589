"""What can happen to a TPM and to a vault's place in it: each event has its own message and its next step."""
import json
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys

from harness import KEY, LIMIT, PROGRAM, Swtpm, SystemTest, Vault, main, run_on_terminal
from tpm_meddler import TpmMeddler
from raw_tpm import FIRST_INDEX, STORAGE_ROOT, RawTpm

PROXY = pathlib.Path(__file__).with_name("tpm_proxy.py")
EXEC = ("exec", "-q", "--", "true")


class EventTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.tpm = self.swtpm()
        self.raw = RawTpm(self.tpm.path)

    def filled(self, *options):
        vault = Vault(self.folder, self.tpm.name)
        self.ok(vault.init(*options))
        self.ok(vault.add("openai"))
        return vault

    def private(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def proxy(self, *options):
        return "cmd:" + " ".join(map(str, [sys.executable, PROXY, self.tpm.path, *options]))

    def meddler(self):
        meddler = TpmMeddler(self.folder, self.tpm.path)
        self.addCleanup(meddler.stop)
        return meddler

    # --- the TPM is another one, or has forgotten

    def test_a_cleared_tpm(self):
        vault = self.filled()
        self.raw.clear()
        self.refused(vault.run(*EXEC), 7, "the TPM was cleared", "restore FILE")

    def test_a_storage_root_key_that_was_removed(self):
        vault = self.filled()
        self.raw.evict(STORAGE_ROOT)
        self.refused(vault.run(*EXEC), 7, "storage root key of this vault is gone", "restore FILE")

    def test_another_tpm_with_a_storage_root_key_of_its_own(self):
        vault = self.filled()
        self.tpm.stop()
        (self.tpm.state / "tpm2-00.permall").unlink()
        self.tpm.start()
        self.ok(Vault(self.folder / "second", self.tpm.name).run("--vault", self.folder / "second", "init", "--tpm", self.tpm.name))
        # Its key is not the one that the vault pins: nothing was said to it that it could read.
        result = vault.run(*EXEC)
        self.assertIn(result.code, (6, 7), result)
        self.assertIn("another TPM", result.err)
        self.assertIn("restore FILE", result.err)

    def test_a_vault_copied_to_another_machine(self):
        vault = self.filled()
        with sqlite3.connect(vault.path / "vault.db") as database:
            database.execute("UPDATE vault SET tpm = 'embedded'")
        self.refused(vault.run(*EXEC), 7, "state of the embedded TPM is gone", "restore FILE")

    # --- counter and register

    def test_a_deleted_counter(self):
        vault = self.filled()
        self.raw.undefine(FIRST_INDEX)
        self.refused(vault.run(*EXEC), 7, "counter was deleted", "restore FILE")

    def test_a_deleted_register(self):
        vault = self.filled()
        self.raw.undefine(FIRST_INDEX + 1)
        self.ok(vault.run(*EXEC))  # not needed for reading
        self.refused(vault.run("remove", "openai"), 7, "was deleted from the TPM", "restore FILE")

    def test_a_counter_that_somebody_else_has_put_in_its_place(self):
        vault = self.filled()
        self.raw.undefine(FIRST_INDEX)
        self.raw.define_index(FIRST_INDEX, 8, attributes=0x00060014 | 0x02000000)  # a counter of the owner's
        result = vault.run(*EXEC)
        self.assertIn(result.code, (6, 7), result)
        self.assertIn("hint: ", result.err)

    def test_strangers_can_neither_advance_the_counter_nor_extend_the_register(self):
        vault = self.filled()
        for command, parameters in ((0x134, b""), (0x136, b"\0\x01x"), (0x137, b"\0\x01x\0\0")):  # Increment, Extend, Write
            for index in (FIRST_INDEX, FIRST_INDEX + 1):
                with self.assertRaises(RuntimeError):
                    self.raw.command(command, [0x40000001, index], parameters, b"")
        self.ok(vault.run(*EXEC))

    def test_an_advanced_counter_is_an_old_vault(self):
        vault = self.filled()
        old = (vault.path / "vault.db").read_bytes()
        self.ok(vault.run("rotate"))
        (vault.path / "vault.db").write_bytes(old)
        self.refused(vault.run(*EXEC), 6, "older than the TPM's epoch", "newest copy")

    def test_no_room_for_a_counter(self):
        taken = []
        for number in range(100):
            try:
                self.raw.define_index(0x01900000 + number, 2000)
                taken.append(number)
            except RuntimeError:
                break
        self.assertTrue(taken)
        for size in (500, 100, 30, 8, 4, 1):  # and the crumbs
            for number in range(100):
                try:
                    self.raw.define_index(0x01910000 + 1000 * size + number, size)
                except RuntimeError:
                    break
        vault = Vault(self.folder, self.tpm.name)
        result = self.refused(vault.init(), 7, "no room", "--no-rollback-protection")
        self.assertFalse(vault.path.exists(), result)

    def test_without_rollback_protection(self):
        vault = Vault(self.folder, self.tpm.name)
        before = self.raw.indices()
        self.assertIn("no rollback protection", self.ok(vault.init("--no-rollback-protection")).err)
        self.assertEqual(self.raw.indices(), before)
        self.ok(vault.add("openai"))
        old = (vault.path / "vault.db").read_bytes()
        for words in (["rotate"], ["remove", "openai"]):
            self.ok(vault.run(*words))
            self.ok(vault.run(*EXEC))
        for words in (["rotate"], ["revoke", "--all"], ["pin", "change", "--new-pin-file", self.private("pin", "1357")]):
            self.assertIn("still open", self.ok(vault.run(*words)).err)
        self.ok(vault.run("list"))
        self.assertIs(json.loads(vault.run("status", "--json").out)["rollback protection"], False)
        (vault.path / "vault.db").write_bytes(old)
        self.ok(vault.run("exec", "-q", "--with", "openai", "--", "true"))  # as it was said, even the PIN is gone
        with sqlite3.connect(vault.path / "vault.db") as database:
            database.execute("UPDATE credential SET version = 7")
        self.refused(vault.run(*EXEC), 6, "changed by something other", "copy")

    def test_the_protection_cannot_be_taken_away_in_the_database(self):
        vault = self.filled()
        with sqlite3.connect(vault.path / "vault.db") as database:
            database.execute("UPDATE vault SET counter = x'', register = x''")
        result = vault.run(*EXEC)
        self.assertIn(result.code, (6, 7), result)

    def test_a_rolled_back_software_tpm_is_said_and_moved_on(self):
        vault = self.vault("embedded")
        self.ok(vault.add("openai"))
        state = (vault.path / "tpm/state").read_bytes()
        old = (vault.path / "vault.db").read_bytes()
        self.ok(vault.run("rotate"))
        self.ok(vault.run("rotate"))
        (vault.path / "tpm/state").write_bytes(state)
        self.ok(vault.run(*EXEC))
        result = self.ok(vault.add("new", "--url", "https://h.example"))
        self.assertIn("rolled back", result.err)
        self.assertNotIn("rolled back", self.ok(vault.add("newer", "--url", "https://h.example")).err)
        newest = (vault.path / "vault.db").read_bytes()
        (vault.path / "vault.db").write_bytes(old)
        self.refused(vault.run(*EXEC), 6, "older than the TPM's epoch", "newest copy")
        (vault.path / "vault.db").write_bytes(newest)
        self.ok(vault.run("remove", "new"))

    def test_the_state_of_the_embedded_tpm_is_gone(self):
        vault = self.vault("embedded")
        shutil.rmtree(vault.path / "tpm")
        self.refused(vault.run(*EXEC), 7, "state of the embedded TPM is gone", "put it back")
        self.assertFalse((vault.path / "tpm/state").exists())

    # --- the owner's password

    def test_an_owner_password_is_asked_once(self):
        self.raw.set_owner_password(b"owner secret")
        vault = Vault(self.folder, self.tpm.name)
        wrong = self.private("wrong", "something else")
        self.refused(vault.init("--owner-password-file", wrong), 7, "owner has a password", "--owner-password-file")
        self.assertFalse(vault.path.exists())
        result = vault.run("init", "--tpm", self.tpm.name, start_new_session=True)
        self.refused(result, 5, "no terminal", "--owner-password-file")
        self.ok(vault.init("--owner-password-file", self.private("owner", "owner secret\n")))
        self.ok(vault.add("openai"))
        for words in (["rotate"], EXEC, ["remove", "openai"]):
            self.ok(vault.run(*words))  # never again

    def test_an_owner_password_typed_on_a_terminal(self):
        self.raw.set_owner_password(b"owner secret")
        vault = Vault(self.folder, self.tpm.name)
        code, output = run_on_terminal(vault.argv("init", "--tpm", self.tpm.name), vault.environment,
                                       [("set one later): ", "\n"), ("password of the TPM's owner: ", "owner secret\n")])
        self.assertEqual(code, 0, output)
        self.assertNotIn("owner secret", output)

    def test_a_failed_init_gives_the_owners_room_back(self):
        self.raw.set_owner_password(b"owner secret")
        before = self.raw.indices()
        vault = Vault(self.folder, self.tpm.name)
        owner = self.private("owner", "owner secret")
        meddler = self.meddler()
        for code in (0x12A, 0x136, 0x153, 0x15E):  # NV_DefineSpace, NV_Extend, Create, Unseal
            seen = []
            # The first definition tells that there is a password: the second one is refused.
            meddler.reset(lambda number, asked: seen.append(asked) or (("refuse", 0x101) if seen.count(code) == 2 and asked == code else None))
            result = vault.run("init", "--tpm", meddler.name, "--owner-password-file", owner)
            if seen.count(code) >= 2:
                self.assertEqual(result.code, 7, result)
                self.assertFalse(vault.path.exists())
                self.assertEqual(self.raw.indices(), before)
            else:
                self.ok(result)
                shutil.rmtree(vault.path)
                for index in set(self.raw.indices()) - set(before):
                    self.raw.undefine(index, b"owner secret")

    # --- boot state

    def test_pcrs(self):
        vault = self.filled("--pcr", "sha256:7,16")
        self.assertEqual(json.loads(vault.run("status", "--json").out)["pcrs"], "sha256:7,16")
        self.ok(vault.run(*EXEC))
        self.raw.extend_pcr(8)  # none of ours
        self.ok(vault.run(*EXEC))
        self.raw.extend_pcr(16)
        self.refused(vault.run(*EXEC), 7, "boot state changed", "restore FILE")

    def test_pcrs_are_rebound_around_an_update(self):
        vault = self.filled("--pcr", "sha256:16")
        self.ok(vault.run("rotate", "--pcr", "none"))
        self.raw.extend_pcr(16)
        self.ok(vault.run(*EXEC))
        self.ok(vault.run("rotate", "--pcr", "sha256:16"))
        self.ok(vault.run(*EXEC))
        self.ok(vault.run("rotate"))  # keeps the binding
        self.raw.extend_pcr(16)
        self.refused(vault.run(*EXEC), 7, "boot state changed", "restore FILE")

    def test_pcrs_after_a_backup(self):
        passphrase = self.private("passphrase", "correct horse battery staple")
        vault = self.filled("--pcr", "sha256:16", "--new-passphrase-file", passphrase)
        file = self.folder / "backup"
        self.ok(vault.run("backup", file))
        self.raw.extend_pcr(16)
        self.assertEqual(vault.run(*EXEC).code, 7)
        vault.path.rename(self.folder / "old")
        self.ok(vault.run("restore", file, "--tpm", self.tpm.name, "--pcr", "sha256:16", "--passphrase-file", passphrase))
        self.ok(vault.run(*EXEC))

    def test_pcr_selections_that_are_none(self):
        vault = Vault(self.folder, self.tpm.name)
        for bad in ("7", "sha1:7", "sha256:", "sha256:24", "sha256:1,1", "sha256:1,,2", "sha256:x"):
            self.refused(vault.init("--pcr", bad), 2, "not a PCR selection", "sha256:7")

    # --- PINs

    def test_pin_change(self):
        one, two, wrong = self.private("one", "1357"), self.private("two", "2468"), self.private("wrong", "0000")
        vault = self.filled()
        old = (vault.path / "vault.db").read_bytes()
        self.ok(vault.run("pin", "change", "--new-pin-file", one))
        self.ok(vault.run("exec", "-q", "--pin-file", one, "--", "true"))
        self.refused(vault.run("exec", "--pin-file", wrong, "--", "true"), 5, "wrong PIN", "try again")
        self.ok(vault.run("pin", "change", "--pin-file", one, "--new-pin-file", two))
        self.refused(vault.run("exec", "--pin-file", one, "--", "true"), 5, "wrong PIN", "try again")
        self.ok(vault.run("exec", "-q", "--pin-file", two, "--", "true"))
        (vault.path / "vault.db").write_bytes(old)
        self.refused(vault.run(*EXEC), 6, "older than the TPM's epoch", "newest copy")

    def test_pin_change_on_the_embedded_tpm(self):
        one, two = self.private("one", "1357"), self.private("two", "2468")
        vault = self.vault("embedded")
        self.ok(vault.run("pin", "change", "--new-pin-file", one))
        before = (vault.path / "tpm/state").read_bytes()
        self.ok(vault.run("pin", "change", "--pin-file", one, "--new-pin-file", two))
        self.refused(vault.run("exec", "--pin-file", one, "--", "true"), 5, "wrong PIN", "try again")
        self.ok(vault.run("exec", "-q", "--pin-file", two, "--", "true"))
        self.assertEqual((vault.path / "tpm/state").read_bytes()[8], 1)  # one slot
        self.assertNotEqual((vault.path / "tpm/state").read_bytes()[9:85], before[9:85])

    def test_a_pin_change_that_was_cut_short_is_settled_by_whoever_changes_the_vault_next(self):
        one, two = self.private("one", "1357"), self.private("two", "2468")
        vault = Vault(self.folder, "embedded")
        self.ok(vault.init("--pin-file", one))
        self.ok(vault.add("openai", "--pin-file", one))
        fault_io = pathlib.Path(PROGRAM).parent / "tests/faults/libfault_io.so"
        if not fault_io.exists() or os.environ.get("AGENTVAULT_SANITIZED"):
            self.skipTest("SKIPPED: no library to kill it with")
        saved = self.folder / "saved"
        shutil.copytree(vault.path, saved)
        settled = set()
        for at in range(0, 90, 3):
            shutil.rmtree(vault.path)
            shutil.copytree(saved, vault.path)
            killed = vault.run("pin", "change", "--pin-file", one, "--new-pin-file", two,
                               env={"LD_PRELOAD": str(fault_io), "FAULT_DIR": str(self.folder), "FAULT_AT": str(at), "FAULT_MODE": "after"})
            works = [pin for pin in (one, two) if vault.run("exec", "-q", "--pin-file", pin, "--", "true").code == 0]
            self.assertTrue(works, at)
            keep = works[-1]
            self.ok(vault.run("add", "x", "--provider", "openai", "--stdin", "--pin-file", keep, stdin=KEY))
            other = one if keep == two else two
            self.refused(vault.run("exec", "--pin-file", other, "--", "true"), 5, "wrong PIN", "try again")
            settled.add(len(works))
            if killed.code == 0:
                break
        self.assertEqual(settled, {1, 2})

    def test_a_locked_out_tpm_does_not_keep_sessions_alive(self):
        pin, wrong = self.private("pin", "1357"), self.private("wrong", "0000")
        upstream = self.upstream()
        vault = Vault(self.folder, self.tpm.name)
        self.ok(vault.init("--pin-file", pin))
        self.ok(vault.add("api", "--url", upstream.url, "--ca-file", self.certificate.pem, "--pin-file", pin))
        session = self.session(vault, "--pin-file", pin)
        for _ in range(8):
            result = vault.run("exec", "--pin-file", wrong, "--", "true")
        self.refused(result, 5, "locked out", "wait 1000s")
        self.refused(vault.run("revoke", "--all", "--pin-file", pin), 7, "all sessions are stopped", "finishes it")
        self.assert_error(session.request("GET", "/api/x"), 401, "session_revoked")

    # --- the bus

    def test_nothing_secret_crosses_it_in_clear(self):
        self.raw.set_owner_password(b"owner secret")
        meddler = self.meddler()
        vault = Vault(self.folder, meddler.name)
        pin, other = self.private("pin", "1357-9753-1357"), self.private("other", "2468-8642-2468")
        passphrase = self.private("passphrase", "correct horse battery staple")
        self.ok(vault.init("--pin-file", pin, "--owner-password-file", self.private("owner", "owner secret"), "--new-passphrase-file", passphrase))
        self.ok(vault.add("openai", "--pin-file", pin))
        self.ok(vault.run("exec", "-q", "--pin-file", pin, "--", "true"))
        self.ok(vault.run("rotate", "--pin-file", pin))
        self.ok(vault.run("pin", "change", "--pin-file", pin, "--new-pin-file", other))
        self.ok(vault.run("backup", self.folder / "b", "--pin-file", other))
        self.assertGreater(len(meddler.traffic), 5000)
        for secret in ("1357-9753-1357", "2468-8642-2468", "owner secret", "correct horse battery staple", KEY):
            for at in range(0, len(secret) - 7):
                self.assertNotIn(secret[at:at + 8].encode(), meddler.traffic)

    def test_the_bus_test_would_see_it(self):
        meddler = self.meddler()
        RawTpm(meddler.path).set_owner_password(b"owner secret")
        self.assertIn(b"owner secret", meddler.traffic)

    def test_a_storage_root_key_that_was_swapped_on_the_bus_learns_nothing(self):
        vault = self.filled()
        other = Swtpm(self.folder / "impostor")
        self.addCleanup(other.stop)
        self.ok(Vault(self.folder / "theirs", other.name).run("--vault", self.folder / "theirs", "init", "--tpm", other.name))
        meddler = TpmMeddler(self.folder, other.path)  # every command goes to the wrong TPM
        self.addCleanup(meddler.stop)
        result = vault.run("--tpm", meddler.name, *EXEC)
        self.assertIn(result.code, (6, 7), result)
        self.assertNotIn(0x15E, meddler.codes)  # it never came to unsealing

    def test_a_tpm_that_never_answers_is_given_up_on(self):
        commands = (["exec", "-q", "--", "true"], ["rotate"], ["revoke", "--all"], ["doctor", "--probe", "openai"])
        running = []
        for number, words in enumerate(commands):
            vault = Vault(self.folder / f"v{number}", self.tpm.name)
            vault.path.parent.mkdir(exist_ok=True)
            self.ok(vault.init())
            self.ok(vault.add("openai"))
            running.append((vault, words))
        running = [subprocess.Popen(vault.argv("--tpm", self.proxy("hang=176"), *words), env=vault.environment, stderr=subprocess.PIPE, text=True) for vault, words in running]
        for process, words in zip(running, commands):
            _, err = process.communicate(timeout=LIMIT)
            self.assertEqual(process.returncode, 7, (words, err))
            self.assertIn("has not answered for 30 seconds", err)
            self.assertEqual("all sessions are stopped" in err, words[0] == "revoke")

    def test_corrupted_responses_change_nothing(self):
        vault = self.filled()
        for code in ("176", "149", "157", "15e"):
            result = vault.run("--tpm", self.proxy(f"flip={code}"), *EXEC)
            self.assertIn(result.code, (5, 6, 7), result)
            self.assertIn("hint: ", result.err)
        self.ok(vault.run(*EXEC))


if __name__ == "__main__":
    main()
