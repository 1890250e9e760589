"""Nothing is ever lost: backups open on another machine and another TPM, and refuse everything else."""
import ctypes
import hashlib
import json
import os
import pathlib
import sqlite3
import subprocess

from harness import KEY, LIMIT, SystemTest, Vault, main, run_on_terminal


def AESGCM(key, associated, plain):
    """nonce | ciphertext | tag, through libcrypto: Debian's Python has no cipher of its own."""
    crypto = ctypes.CDLL("libcrypto.so.3")
    crypto.EVP_CIPHER_CTX_new.restype = crypto.EVP_aes_256_gcm.restype = ctypes.c_void_p
    context, nonce, size = ctypes.c_void_p(crypto.EVP_CIPHER_CTX_new()), os.urandom(12), ctypes.c_int()
    out, tag = ctypes.create_string_buffer(len(plain) + 16), ctypes.create_string_buffer(16)
    crypto.EVP_EncryptInit_ex(context, ctypes.c_void_p(crypto.EVP_aes_256_gcm()), None, key, nonce)
    crypto.EVP_EncryptUpdate(context, None, ctypes.byref(size), associated, len(associated))
    crypto.EVP_EncryptUpdate(context, out, ctypes.byref(size), plain, len(plain))
    crypto.EVP_EncryptFinal_ex(context, ctypes.byref(out, len(plain)), ctypes.byref(size))
    crypto.EVP_CIPHER_CTX_ctrl(context, 0x10, 16, tag)
    crypto.EVP_CIPHER_CTX_free(context)
    return nonce + out.raw[:len(plain)] + tag.raw


class RecoveryTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.up = self.upstream()
        self.passphrase = self.private("passphrase", "correct horse battery staple\n")
        self.file = self.folder / "vault.backup"

    def private(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def filled(self, tpm="embedded"):
        vault = self.vault(tpm)
        self.ok(vault.add("api", "--url", self.up.url, "--ca-file", self.certificate.pem))
        self.ok(vault.add("pem", "--url", "https://h.example", "--inject", "basic:pass", secret="-----BEGIN X-----\n" + "line of a key\n" * 4000))
        self.ok(vault.run("recovery", "set", "--new-passphrase-file", self.passphrase))
        self.ok(vault.run("backup", self.file))
        return vault

    def elsewhere(self, name="other", tpm="embedded"):
        folder = self.folder / name
        folder.mkdir()
        return Vault(folder, tpm)

    def restore(self, vault, *options, passphrase=None):
        return vault.run("restore", self.file, "--tpm", vault.tpm, "--passphrase-file", passphrase or self.passphrase, *options)

    def works(self, vault, *options):
        session = self.session(vault, *options)
        seen = len(self.up.requests)
        self.assertEqual(session.request("GET", "/api/x")[0], 200)
        self.assertEqual(self.up.header(seen, "Authorization"), "Bearer " + KEY)

    def test_a_passphrase_that_anybody_guesses_is_refused(self):
        vault = self.vault()
        file = self.folder / "short"
        file.write_text("x" * 7)
        file.chmod(0o600)
        self.refused(vault.run("recovery", "set", "--new-passphrase-file", file), 5, "at least 8 characters", "several words")
        file.write_text("x" * 8)
        self.assertIn("a short recovery passphrase", self.ok(vault.run("recovery", "set", "--new-passphrase-file", file)).err)
        backup = self.folder / "b"
        self.ok(vault.run("backup", backup))
        backup.write_bytes(b"AVBACK2\n" + backup.read_bytes()[8:])
        self.refused(Vault(self.folder / "new").run("restore", backup, "--passphrase-file", file, "--tpm", "embedded"), 1, "newer agentvault", "update agentvault")

    def test_on_another_machine(self):
        vault = self.filled()
        shown = json.loads(vault.run("show", "api", "--json").out)
        other = self.elsewhere()
        self.ok(self.restore(other))
        self.works(other)
        again = json.loads(other.run("show", "api", "--json").out)
        for key in ("name", "provider", "origin", "rules"):
            self.assertEqual(again.get(key), shown.get(key), key)
        self.assertEqual(other.run("status", "--json").out.count("api"), 0)  # nothing is newer than the backup

    def test_on_another_kind_of_tpm_and_back(self):
        self.filled()
        other = self.elsewhere(tpm=self.swtpm().name)
        self.ok(self.restore(other))
        self.works(other)
        self.file.unlink()
        self.ok(other.run("backup", self.file))  # the passphrase went along
        third = self.elsewhere("third")
        self.ok(self.restore(third))
        self.works(third)

    def test_an_older_backup_after_the_passphrase_has_changed(self):
        vault = self.filled()
        fresh = self.private("fresh", "another long passphrase")
        self.ok(vault.run("recovery", "set", "--passphrase-file", self.passphrase, "--new-passphrase-file", fresh))
        other = self.elsewhere()
        self.ok(self.restore(other))
        newer = self.folder / "newer.backup"
        self.ok(vault.run("backup", newer))
        self.file = newer
        third = self.elsewhere("third")
        self.refused(self.restore(third), 5, "wrong recovery passphrase", "try again")
        self.ok(self.restore(third, passphrase=fresh))

    def test_changing_the_passphrase_needs_the_old_one_and_is_a_barrier(self):
        vault = self.filled()
        old = (vault.path / "vault.db").read_bytes()
        wrong = self.private("wrong", "not this one at all")
        self.refused(vault.run("recovery", "set", "--passphrase-file", wrong, "--new-passphrase-file", wrong), 5,
                     "wrong recovery passphrase", "nothing was changed")
        self.ok(vault.run("recovery", "set", "--passphrase-file", self.passphrase, "--new-passphrase-file", wrong))
        (vault.path / "vault.db").write_bytes(old)
        self.refused(vault.run("exec", "--", "true"), 6, "older than the TPM's epoch", "newest copy")

    def test_a_backup_survives_rotation_and_pins(self):
        vault = self.filled()
        pin = self.private("pin", "2468")
        self.ok(vault.run("rotate"))
        self.ok(vault.run("pin", "change", "--new-pin-file", pin))
        self.file.unlink()
        self.ok(vault.run("backup", self.file, "--pin-file", pin))
        other = self.elsewhere()
        self.ok(self.restore(other, "--pin-file", pin))
        self.refused(other.run("exec", "--", "true", start_new_session=True), 5, "no terminal", "--pin-file")
        self.works(other, "--pin-file", pin)

    def test_wrong_passphrase_cut_and_changed_files(self):
        self.filled()
        other = self.elsewhere()
        self.refused(self.restore(other, passphrase=self.private("wrong", "not this one")), 5, "wrong recovery passphrase", "try again")
        good = self.file.read_bytes()
        for size in (0, 8, 20, 60, len(good) // 2, len(good) - 1):
            self.file.write_bytes(good[:size])
            self.assertIn(self.restore(other).code, (5, 6), size)
        self.file.write_bytes(good + b"x")
        self.refused(self.restore(other), 6, "cut short or changed", "another copy")
        for at in [*range(0, 90, 13), 200, len(good) // 2, len(good) - 1]:
            changed = bytearray(good)
            changed[at] ^= 0x10
            self.file.write_bytes(changed)
            result = self.restore(other)
            self.assertIn(result.code, (5, 6), at)
            self.assertIn("hint: ", result.err)
        self.assertFalse(other.path.exists())
        self.file.write_bytes(good)
        self.ok(self.restore(other))

    def test_entries_cannot_be_swapped_or_left_out(self):
        self.filled()
        good = self.file.read_bytes()
        boxes, at = [], 8 + 16
        while at < len(good):
            size = int.from_bytes(good[at:at + 4], "big")
            boxes.append(good[at:at + 4 + size])
            at += 4 + size
        self.assertEqual(len(boxes), 3)
        head = good[:24] + boxes[0]
        for rest in ([boxes[2], boxes[1]], [boxes[1], boxes[1]], [boxes[1]], []):
            self.file.write_bytes(head + b"".join(rest))
            self.refused(self.restore(self.elsewhere(f"v{len(os.listdir(self.folder))}")), 6, "cut short or changed", "another copy")

    def test_no_secret_lies_in_a_backup_in_clear(self):
        self.filled()
        self.assertNotIn(KEY.encode(), self.file.read_bytes())
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)

    def test_an_existing_vault_is_not_touched(self):
        vault = self.filled()
        before = (vault.path / "vault.db").read_bytes()
        self.refused(self.restore(vault), 1, "there is a vault", "--vault")
        self.assertEqual((vault.path / "vault.db").read_bytes(), before)

    def test_revoked_agents_stay_revoked(self):
        vault = self.filled()
        self.ok(vault.run("revoke", "--agent", "default"))
        self.ok(vault.run("backup", self.file))
        other = self.elsewhere()
        self.ok(self.restore(other))
        self.refused(other.run("exec", "--", "true"), 4, "is revoked", "--lift")

    def test_no_session_comes_back(self):
        vault = self.filled()
        token = self.session(vault).token
        other = self.elsewhere()
        self.ok(self.restore(other))
        session = self.session(other)
        self.assert_error(session.request("GET", "/api/x", token=token), 401, "token_invalid")

    def test_status_and_add_name_what_is_in_no_backup(self):
        vault = self.filled()
        self.assertEqual(json.loads(vault.run("status", "--json").out)["not in the last backup"], [])
        self.assertIn("new is in no backup yet", vault.add("new", "--url", "https://h.example").err)
        self.ok(vault.add("pem", "--replace"))
        self.assertEqual(json.loads(vault.run("status", "--json").out)["not in the last backup"], ["new", "pem"])

    def test_without_a_passphrase_there_is_no_backup(self):
        vault = self.vault()
        self.refused(vault.run("backup", self.file), 2, "no recovery passphrase", "recovery set")
        self.assertFalse(self.file.exists())

    def test_places_that_cannot_be_written_or_read(self):
        vault = self.filled()
        self.refused(vault.run("backup", self.folder / "none" / "b"), 1, "cannot write", "does its folder exist")
        other = self.elsewhere()
        self.file = self.folder / "nothing"
        self.refused(self.restore(other), 3, "there is no file", "path")
        self.file = self.private("text", "this is no backup\n" * 10)
        self.refused(self.restore(other), 6, "is not a backup", "agentvault backup")
        self.file = self.folder / "vault.backup"
        self.passphrase.chmod(0o644)
        self.refused(self.restore(other), 5, "others can read", "chmod 600")

    def test_a_backup_replaces_only_what_it_may(self):
        vault = self.filled()
        self.refused(vault.run("backup", vault.path / "vault.db"), 2, "vault's own folder", "outside")
        self.refused(vault.run("backup", vault.path / "tpm" / "b"), 2, "vault's own folder", "outside")
        self.refused(vault.run("backup", "/dev/null"), 2, "not a regular file", "can be replaced")
        link = self.folder / "link"
        link.symlink_to(self.passphrase)
        self.refused(vault.run("backup", link), 2, "not a regular file", "can be replaced")
        neighbour = self.private("vault.backup.new", "somebody else's")
        self.ok(vault.run("backup", self.file))
        self.assertEqual(neighbour.read_text(), "somebody else's")
        self.ok(vault.run("exec", "-q", "--", "true"))

    def test_what_add_would_refuse_is_not_restored(self):
        """Whoever knows the passphrase can write a backup by hand."""
        vault = self.filled()
        binding = json.dumps({"provider": "generic"})
        with sqlite3.connect(vault.path / "vault.db") as database:
            binding = json.loads(database.execute("SELECT binding FROM credential WHERE name = 'api'").fetchone()[0])
        bad = [("x\n\x1b]0;y\x07", binding, KEY), ("", binding, KEY), ("../x", binding, KEY), ("x", {**binding, "env": ["LD_PRELOAD"]}, KEY),
               ("x", {**binding, "env": ["PATH"]}, KEY), ("x", {**binding, "env": ["AGENTVAULT_URL"]}, KEY), ("x", {**binding, "env": ["A\0B"]}, KEY),
               ("x", {}, KEY), ("x", binding, ""), ("x", binding, KEY + "\r\nX: y"), ("x", binding, "k" * 70000)]
        for number, (name, value, secret) in enumerate(bad):
            self.write_backup([("good", binding, KEY), (name, value, secret)])
            other = self.elsewhere(f"bad{number}")
            self.refused(self.restore(other), 6, "add\" would refuse", "nothing was made")
            self.assertFalse(other.path.exists())
        self.write_backup([("good", binding, KEY), ("good", binding, KEY)])
        self.refused(self.restore(self.elsewhere("twice")), 6, "holds good twice", "nothing was made")
        self.write_backup([("good", binding, KEY)], agents=["default", "an\x1bagent"])
        self.refused(self.restore(self.elsewhere("agents")), 6, "cut short or changed", "another copy")
        self.write_backup([("good", binding, KEY)], agents=["zebra", "alpha", "zebra"])
        other = self.elsewhere("sorted")
        self.ok(self.restore(other))
        self.works_as(other, "good")

    def works_as(self, vault, name):
        self.ok(vault.run("exec", "-q", "--with", name, "--", "true"))

    def write_backup(self, entries, agents=()):
        """By code of its own, from schemas/backup.md."""
        def text(value):
            data = value.encode()
            return len(data).to_bytes(4, "big") + data
        def seal(key, associated, plain):
            return AESGCM(key, associated, plain)
        salt = b"s" * 16
        key = hashlib.scrypt(b"correct horse battery staple", salt=salt, n=2 ** 17, r=8, p=1, maxmem=2 ** 28, dklen=32)
        boxes = [seal(key, b"agentvault backup entry 1", text(n) + text(b if isinstance(b, str) else json.dumps(b)) + text(s)) for n, b, s in entries]
        head = (1).to_bytes(8, "big") + len(boxes).to_bytes(8, "big") + b"".join(hashlib.sha256(b).digest() for b in boxes)
        head += len(agents).to_bytes(8, "big") + b"".join(map(text, agents))
        start = b"AVBACK1\n" + salt
        everything = [seal(key, text("agentvault backup 1") + start, head), *boxes]
        self.file.write_bytes(start + b"".join(len(b).to_bytes(4, "big") + b for b in everything))

    def test_typed_on_a_terminal(self):
        vault = self.filled()
        other = self.elsewhere()
        code, output = run_on_terminal(other.argv("restore", self.file, "--tpm", "embedded"), other.environment,
                                       [("recovery passphrase: ", "correct horse battery staple\n")])
        self.assertEqual(code, 0, output)
        self.assertNotIn("battery", output)
        self.works(other)
        code, output = run_on_terminal(vault.argv("recovery", "set", "--passphrase-file", self.passphrase), vault.environment,
                                       [("new recovery passphrase: ", "one two three four\n"), ("same again: ", "one two three five\n")])
        self.assertEqual(code, 5, output)
        self.assertIn("the two differ", output)


if __name__ == "__main__":
    main()
