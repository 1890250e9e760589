"""init, add, list, show, remove, status: what a person does with a vault, on the embedded TPM."""
import base64
import grp
import json
import os
import shutil
import sqlite3
import stat



from harness import KEY, WITHIN, SystemTest, Vault, main, run_on_terminal

PEM = "-----BEGIN PRIVATE KEY-----\n" + "\n".join("c3RhbmQtaW4ga2V5IG1hdGVyaWFs" * 2 for _ in range(800)) + "\n-----END PRIVATE KEY-----\n"


class VaultTest(SystemTest):
    def test_init_makes_a_private_vault_and_says_what_protects_it(self):
        vault = Vault(self.folder)
        result = self.ok(vault.init())
        self.assertIn("software TPM: no hardware protection", result.err)
        for folder, folders, files in os.walk(vault.path):
            self.assertEqual(stat.S_IMODE(os.stat(folder).st_mode), 0o700, folder)
            for name in files:
                self.assertEqual(stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode), 0o600, name)
        self.refused(vault.init(), 1, "there is a vault at", "--vault")

    def test_a_failed_init_leaves_nothing(self):
        vault = Vault(self.folder, "swtpm:path=" + str(self.folder / "nobody.sock"))
        self.refused(vault.init(), 7, "cannot reach the swtpm server", "is it running")
        self.assertEqual([p.name for p in self.folder.iterdir() if "vault" in p.name], [])

    def test_an_existing_folder_with_something_in_it_is_left_alone(self):
        vault = Vault(self.folder)
        vault.path.mkdir()
        (vault.path / "mine").write_text("x")
        self.refused(vault.init(), 1, "not an empty folder", "--vault")
        self.assertEqual((vault.path / "mine").read_text(), "x")

    def test_init_finishes_what_a_killed_init_left(self):
        vault = Vault(self.folder)
        left = self.folder / "vault.init-abc123"
        (left / "tpm").mkdir(parents=True)
        (left / ".agentvault-init").write_text("")
        self.ok(vault.init())
        self.assertFalse(left.exists())
        self.ok(vault.run("status"))

    def test_init_touches_nothing_that_is_not_its_own(self):
        vault = Vault(self.folder)
        for name in ("vault.init", "vault.init-abc123", "vault.init-x"):
            (self.folder / name).mkdir()
            (self.folder / name / "thesis").write_text("x")
        home = self.folder / "home"
        home.mkdir()
        (home / ".agentvault-init").write_text("")
        (self.folder / "vault.init-link12").symlink_to(home)
        self.ok(vault.init())
        for name in ("vault.init", "vault.init-abc123", "vault.init-x"):
            self.assertEqual((self.folder / name / "thesis").read_text(), "x")
        self.assertTrue((home / ".agentvault-init").exists())

    def test_a_vault_behind_a_symbolic_link_works(self):
        (self.folder / "real").mkdir()
        (self.folder / "link").symlink_to(self.folder / "real")
        vault = Vault(self.folder / "link")
        self.ok(vault.init())
        self.ok(vault.add("openai"))
        self.ok(vault.run("exec", "-q", "--", "true"))

    def test_a_trigger_in_the_database_is_refused(self):
        vault = self.vault()
        with sqlite3.connect(vault.path / "vault.db") as database:
            database.execute("CREATE TRIGGER t BEFORE UPDATE ON stage BEGIN SELECT RAISE(IGNORE); END")
        self.refused(vault.run("list"), 6, "changed by something other than agentvault", "copy of vault.db")

    def test_a_vault_is_destroyed(self):
        vault = self.vault()
        self.ok(vault.add("openai"))
        session = self.session(vault)
        self.refused(vault.run("destroy"), 2, "with its 1 credentials", "--yes")
        self.ok(vault.run("exec", "-q", "--", "true"))
        foreign = vault.path / "thesis"
        foreign.write_text("x")
        done = self.ok(vault.run("destroy", "--yes"))
        self.assertIn("its folder holds files of others", done.err)
        self.assertIn("a copy of the whole folder would still open", done.err)
        self.assertEqual(list(vault.path.iterdir()), [foreign])
        self.assert_error(session.request("GET", "/openai/x"), 401, "session_revoked")
        self.refused(vault.run("destroy", "--yes"), 3, "there is no vault")
        foreign.unlink()
        vault.path.rmdir()
        self.ok(vault.init())
        self.ok(vault.run("destroy", "--yes"))
        self.assertFalse(vault.path.exists())

    def test_a_pipe_in_the_place_of_a_file_holds_nobody_up(self):
        for name in ("tpm/state", "revocations", "vault.lock", "vault.db"):
            vault = Vault(self.folder / name.replace("/", "-"))
            vault.path.parent.mkdir()
            self.ok(vault.init())
            (vault.path / name).unlink(missing_ok=True)
            os.mkfifo(vault.path / name, 0o600)
            for words in (["exec", "-q", "--", "true"], ["rotate"], ["list"]):
                result = vault.run(*words)
                self.assertNotIn(result.code, (None, -9), (name, words, result))
            self.assertIn(vault.run("revoke", "--all").code, (0, 1, 6, 7), name)

    def test_the_pin_is_asked_for_before_the_secret(self):
        vault = self.vault()
        pin = self.folder / "pin"
        pin.write_text("13579")
        pin.chmod(0o600)
        self.assertIn("a short PIN can be guessed", self.ok(vault.run("pin", "change", "--new-pin-file", pin)).err)
        code, output = run_on_terminal(vault.argv("add", "openai"), vault.environment, [("PIN: ", "13579\n"), ("(hidden): ", KEY + "\n")])
        self.assertEqual(code, 0, output)

    def test_inside_a_session_the_vault_is_said_to_be_out_of_reach(self):
        vault = self.vault()
        self.ok(vault.add("openai"))
        done = vault.run("exec", "-q", "--isolation", "strict", "--", *WITHIN, "--vault", vault.path, "list")
        self.refused(done, 3, "there is no vault", "ask whoever started it")

    def test_no_other_schema_than_its_own_is_worked_with(self):
        vault = self.vault()
        self.ok(vault.add("openai"))
        file = vault.path / "vault.db"
        good = file.read_bytes()
        trigger = "CREATE TRIGGER t BEFORE INSERT ON {} BEGIN SELECT RAISE(IGNORE); END"
        row = "INSERT INTO sqlite_schema VALUES ({}, 't', '{}', 0, '" + trigger + "')"
        changes = [[trigger.format(table)] for table in ("intent", "stage", "revocation", "credential")]
        # SQLite goes by the text, whatever the type says.
        changes += [["PRAGMA writable_schema = ON", row.format(kind, table, table)] for kind in ("'Trigger'", "x'74726967676572'", "'table'") for table in ("intent", "revocation")]
        changes += [["CREATE VIEW v AS SELECT 1"], ["CREATE TABLE other (a)"], ["CREATE INDEX i ON stage (mac)"], ["ANALYZE"],
                    ["ALTER TABLE stage ADD COLUMN more TEXT"],
                    ["PRAGMA writable_schema = ON", "UPDATE sqlite_schema SET sql = replace(sql, 'CHECK (only_row = 1)', '') WHERE name = 'vault'"],
                    ["PRAGMA writable_schema = ON", "UPDATE sqlite_schema SET sql = replace(sql, 'ON DELETE CASCADE', '') WHERE name = 'revocation'"]]
        for change in changes:
            for path in vault.path.glob("vault.db-*"):
                path.unlink()
            file.write_bytes(good)
            database = sqlite3.connect(file)
            for statement in change:
                database.execute(statement)
            database.commit()
            database.close()
            for words in (["list"], ["exec", "--", "true"], ["rotate"]):
                self.assertEqual(vault.run(*words).code, 6, (change, words))
            result = vault.run("revoke", "--all")
            self.assertEqual(result.code, 6, (change, result))
        for path in vault.path.glob("vault.db-*"):
            path.unlink()
        file.write_bytes(good)
        self.ok(vault.run("exec", "-q", "--", "true"))

    def test_what_the_database_says_cannot_steer_the_terminal(self):
        vault = self.vault()
        with sqlite3.connect(vault.path / "vault.db") as database:
            database.execute("UPDATE vault SET tpm = ?", ("cmd:\x1b[31mred",))
        result = vault.run("exec", "--", "true")
        self.assertEqual(result.code, 6)
        self.assertNotIn("\x1b", result.err)

    def test_a_long_secret_is_typed_whole_and_ctrl_c_restores_the_terminal(self):
        upstream = self.upstream()
        vault = self.vault()
        long = "k" * 6000
        code, output = run_on_terminal(vault.argv("add", "long", "--url", upstream.url, "--ca-file", str(self.certificate.pem)), vault.environment,
                                       [("(hidden): ", long + "\n")])
        self.assertEqual(code, 0, output)
        session = self.session(vault)
        self.assertEqual(session.request("GET", "/long/x")[0], 200)
        self.assertEqual(upstream.header(0, "Authorization"), "Bearer " + long)
        command = " ".join(map(str, vault.argv("add", "openai")))
        for _ in range(10):
            code, output = run_on_terminal(["bash", "--norc", "-c", f"trap : INT; {command}; stty -a | grep -o ' -*echo '"], vault.environment,
                                           [("(hidden): ", "abc\x03")])
            self.assertEqual(code, 0, output)
            self.assertIn(" echo ", output)

    def test_without_a_vault_every_command_says_how_to_make_one(self):
        vault = Vault(self.folder)
        for words in (["list"], ["show", "x"], ["status"], ["sessions"], ["exec", "--", "true"], ["remove", "x"]):
            self.refused(vault.run(*words), 3, "there is no vault at", "agentvault init")
        self.refused(vault.add("openai"), 3, "there is no vault at", "agentvault init")

    def test_no_tpm_names_the_next_line(self):
        if os.path.exists("/dev/tpmrm0"):
            self.skipTest("SKIPPED: this machine has a TPM")
        self.refused(Vault(self.folder).run("init"), 7, "no TPM at /dev/tpmrm0", "--tpm embedded")
        self.refused(Vault(self.folder).run("init", "--tpm", "device:/dev/none"), 7, "no TPM at /dev/none", "--tpm embedded")

    def test_no_permission_on_the_device_names_the_group_command_and_a_new_login(self):
        device = self.folder / "tpmrm0"
        device.write_text("")
        device.chmod(0o060)
        os.chown(device, 0, grp.getgrnam("tty").gr_gid) if os.getuid() == 0 else None
        vault = Vault(self.folder, f"device:{device}")
        if os.getuid() == 0:
            self.folder.chmod(0o755)
            vault.path = self.folder / "user/vault"
            (self.folder / "user").mkdir()
            os.chown(self.folder / "user", 65534, 65534)
            vault.environment["AGENTVAULT_HOME"] = str(vault.path)
            result = vault.run("init", "--tpm", vault.tpm, user=65534, group=65534, extra_groups=[])
            self.refused(result, 7, "no permission to use", "usermod -aG tty $USER")
            self.assertIn("log out and in again", result.err)
        else:
            device.chmod(0)
            self.refused(vault.init(), 7, "no permission to use", "log out and in again")

    def test_add_list_show(self):
        vault = self.vault()
        self.ok(vault.add("openai"))
        self.ok(vault.add("mine", "--url", "https://api.example.org/v2", "--inject", "header:X-Key", "--env", "MY_KEY"))
        listed = self.ok(vault.run("list")).out
        self.assertRegex(listed, r"openai +openai +https://api.openai.com/v1 +OPENAI_API_KEY")
        self.assertRegex(listed, r"mine +generic +https://api.example.org/v2 +MY_KEY")
        shown = json.loads(self.ok(vault.run("show", "mine", "--json")).out)
        self.assertEqual(shown["inject"], "header:X-Key")
        self.assertEqual(shown["rules"], ["allow * /**"])
        self.assertFalse(shown["verified"])
        self.refused(vault.run("show", "none"), 3, "no credential named none", "agentvault list")
        self.assertEqual(json.loads(self.ok(vault.run("status", "--json")).out)["credentials"], 2)

    def test_a_secret_is_typed_hidden(self):
        vault = self.vault()
        code, output = run_on_terminal(vault.argv("add", "openai"), vault.environment, [("(hidden): ", KEY + "\n")])
        self.assertEqual(code, 0, output)
        self.assertNotIn(KEY, output)
        self.assertIn("stored openai", output)

    def test_without_a_terminal_add_asks_for_stdin(self):
        vault = self.vault()
        result = vault.run("add", "openai", start_new_session=True)
        self.refused(result, 2, "no terminal", "--stdin")

    def test_bad_secrets_store_nothing(self):
        vault = self.vault()
        self.refused(vault.add("openai", secret=""), 2, "the secret is empty", "the key itself")
        self.refused(vault.add("openai", secret="\n"), 2, "the secret is empty", "the key itself")
        self.refused(vault.add("openai", secret=KEY + "\nX-Evil: 1"), 2, "a header cannot carry", "--inject")
        self.assertEqual(json.loads(vault.run("list", "--json").out), [])
        short = self.ok(vault.add("openai", secret="short"))
        self.assertIn("shorter than 16 bytes", short.err)

    def test_a_secret_past_64_kib_is_refused(self):
        result = self.vault().add("openai", secret="x" * 65537)
        self.assertEqual(result.code, 2, result)
        self.assertIn("larger than 65536 bytes", result.err)

    def test_a_multi_line_secret_of_nearly_64_kib_works(self):
        upstream = self.upstream()
        vault = self.vault()
        secret = PEM[:65000]
        self.ok(vault.add("pem", "--url", upstream.url, "--ca-file", self.certificate.pem, "--inject", "basic:pass:robot", secret=secret))
        session = self.session(vault)
        self.assertEqual(session.request("GET", "/pem/x")[0], 200)
        sent = base64.b64decode(upstream.header(0, "Authorization").split()[1]).decode()
        self.assertEqual(sent, "robot:" + secret.rstrip("\n"))

    def test_bad_arguments_say_what_to_write(self):
        vault = self.vault()
        self.refused(vault.add("nosuch"), 2, "for what service is nosuch", "--provider")
        self.refused(vault.add("x", "--provider", "nosuch"), 3, 'no provider "nosuch"', "provider list")
        self.refused(vault.add("x", "--provider", "generic"), 2, "needs an origin", "--url")
        self.refused(vault.add("x", "--url", "http://h.org"), 2, "in clear", "https://")
        self.refused(vault.add("x", "--url", "https://h.org?x=1"), 2, "not an origin", "https://host")
        self.refused(vault.add("x", "--url", "https://h.org", "--inject", "cookie"), 2, "unknown injection", "bearer")
        self.refused(vault.add("Bad Name", "--provider", "openai"), 2, "not a name", "a-z 0-9")
        self.refused(vault.add("x", "--url", "https://h.org", "--env", "1X"), 2, "not a variable", "letters")
        self.refused(vault.add("x", "--url", "https://h.org", "--env", "AGENTVAULT_TOKEN"), 2, "not a variable", "AGENTVAULT_")
        self.refused(vault.add("x", "--url", "https://h.org", "--ca-file", "/none"), 3, "no file /none", "path")
        self.refused(vault.add("x", "--url", "https://h.org", "--ca-file", __file__), 2, "holds no certificate", "PEM")
        self.refused(vault.run("nosuch"), 2, "", "agentvault --help")
        self.refused(vault.run("exec", "--nosuch", "true"), 2, "not expected: --nosuch", "--help")
        self.refused(vault.run("list", "--", "x"), 2, "only exec", "--help")
        self.refused(vault.run("--log-level", "loud", "list"), 2, "unknown log level", "warning")
        self.assertEqual(json.loads(vault.run("list", "--json").out), [])

    def test_a_name_that_is_taken_points_to_replace(self):
        vault = self.vault()
        self.ok(vault.add("openai"))
        self.refused(vault.add("openai"), 1, "there is a credential named openai already", "--replace")

    def test_replace_keeps_the_binding_or_takes_a_new_one(self):
        vault = self.vault()
        self.ok(vault.add("mine", "--url", "https://one.example/v1", "--env", "K"))
        self.ok(vault.add("mine", "--replace"))
        self.assertIn("https://one.example/v1", vault.run("list").out)
        self.ok(vault.add("mine", "--replace", "--url", "https://two.example"))
        self.assertIn("https://two.example", vault.run("list").out)
        self.assertEqual(json.loads(vault.run("show", "mine", "--json").out)["version"], 3)
        self.refused(vault.add("openai", "--replace"), 3, "no credential named openai", "agentvault list")

    def test_remove_is_a_barrier(self):
        vault = self.vault()
        self.ok(vault.add("openai"))
        old = (vault.path / "vault.db").read_bytes()
        epoch = json.loads(vault.run("status", "--json").out)["epoch"]
        self.ok(vault.run("remove", "openai"))
        self.assertEqual(json.loads(vault.run("status", "--json").out)["epoch"], epoch + 1)
        self.refused(vault.run("remove", "openai"), 3, "no credential named openai", "agentvault list")
        (vault.path / "vault.db").write_bytes(old)
        result = vault.run("exec", "--", "true")
        self.refused(result, 6, "older than the TPM's epoch", "newest copy")

    def test_a_broken_database_is_told(self):
        vault = self.vault()
        (vault.path / "vault.db").write_bytes(b"not a database" * 1000)
        for words in (["list"], ["exec", "--", "true"], ["status"]):
            self.refused(vault.run(*words), 6, "database is damaged", "copy of vault.db")

    def test_a_changed_row_is_noticed_before_anything_is_decrypted(self):
        vault = self.vault()
        self.ok(vault.add("mine", "--url", "https://good.example", "--env", "K"))
        with sqlite3.connect(vault.path / "vault.db") as database:
            database.execute("UPDATE credential SET binding = replace(binding, 'good', 'evil')")
        self.assertIn("evil.example", vault.run("list").out)  # unverified, as the manual says
        self.refused(vault.run("exec", "--", "true"), 6, "changed by something other than agentvault", "nothing was decrypted")

    def test_an_open_vault_is_closed_to_others(self):
        vault = self.vault()
        vault.path.chmod(0o755)
        self.assertIn("closing it", vault.run("list").err)
        self.assertEqual(stat.S_IMODE(vault.path.stat().st_mode), 0o700)

    def test_somebody_elses_vault_is_refused(self):
        if os.getuid() != 0:
            self.skipTest("SKIPPED: needs root")
        vault = self.vault()
        os.chown(vault.path, 65534, 65534)
        self.refused(vault.run("list"), 1, "belongs to another user", "--vault")

    def test_the_lost_state_of_the_embedded_tpm_is_told(self):
        vault = self.vault()
        shutil.rmtree(vault.path / "tpm")
        result = vault.run("exec", "--", "true")
        self.assertIn(result.code, (6, 7), result)
        self.assertIn("hint: ", result.err)

    def test_a_missing_folder_of_the_vault_is_made_again(self):
        vault = self.vault()
        shutil.rmtree(vault.path / "sessions")
        shutil.rmtree(vault.path / "audit")
        self.ok(vault.run("exec", "-q", "--", "true"))


class PinTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.pin = self.folder / "pin"
        self.pin.write_text("2468\n")
        self.pin.chmod(0o600)

    def protected(self):
        vault = Vault(self.folder)
        self.ok(vault.init("--pin-file", self.pin))
        return vault

    def test_the_pin_opens_the_vault_and_encrypts_its_tpm(self):
        vault = self.protected()
        self.ok(vault.add("openai", "--pin-file", self.pin))
        self.ok(vault.run("exec", "-q", "--pin-file", self.pin, "--", "true"))
        self.assertTrue((vault.path / "tpm/state").read_bytes().startswith(b"AVTPM1"))
        self.ok(vault.run("remove", "openai", "--pin-file", self.pin))
        self.ok(vault.run("list"))  # needs none

    def test_a_wrong_pin_changes_nothing(self):
        vault = self.protected()
        wrong = self.folder / "wrong"
        wrong.write_text("1111")
        wrong.chmod(0o600)
        before = (vault.path / "tpm/state").read_bytes()
        self.refused(vault.run("exec", "--pin-file", wrong, "--", "true"), 5, "wrong PIN", "try again")
        self.refused(vault.add("openai", "--pin-file", wrong), 5, "wrong PIN", "try again")
        self.assertEqual((vault.path / "tpm/state").read_bytes(), before)

    def test_the_pin_is_typed_hidden(self):
        vault = Vault(self.folder)
        code, output = run_on_terminal(vault.argv("init", "--tpm", "embedded", "--pin"), vault.environment,
                                       [("new PIN: ", "13579\n"), ("same again: ", "13579\n"), ("recovery passphrase", "a long passphrase\n"), ("same again: ", "a long passphrase\n")])
        self.assertEqual(code, 0, output)
        self.assertNotIn("13579", output)
        self.assertNotIn("a long passphrase", output)
        code, output = run_on_terminal(vault.argv("exec", "-q", "--", "echo", "worked"), vault.environment, [("PIN: ", "13579\n")])
        self.assertEqual(code, 0, output)
        self.assertIn("worked", output)
        code, output = run_on_terminal(vault.argv("exec", "-q", "--", "echo", "worked"), vault.environment, [("PIN: ", "1\n")])
        self.assertEqual(code, 5, output)
        self.assertIn("wrong PIN", output)

    def test_two_different_pins_make_no_vault(self):
        vault = Vault(self.folder)
        code, output = run_on_terminal(vault.argv("init", "--tpm", "embedded", "--pin"), vault.environment,
                                       [("new PIN: ", "1\n"), ("same again: ", "2\n")])
        self.assertEqual(code, 5, output)
        self.assertFalse(vault.path.exists())

    def test_without_terminal_or_file_it_is_exit_5(self):
        vault = self.protected()
        result = vault.run("exec", "--", "true", start_new_session=True)
        self.refused(result, 5, "no terminal", "--pin-file")

    def test_a_pin_file_that_others_can_read_is_refused(self):
        vault = self.protected()
        self.pin.chmod(0o644)
        self.refused(vault.run("exec", "--pin-file", self.pin, "--", "true"), 5, "others can read", "chmod 600")

    def test_the_pin_comes_from_systemds_credentials(self):
        vault = self.protected()
        credentials = self.folder / "credentials"
        credentials.mkdir()
        (credentials / "agentvault-pin").write_text("2468")
        self.ok(vault.run("exec", "-q", "--", "true", env={"CREDENTIALS_DIRECTORY": str(credentials)}))


if __name__ == "__main__":
    main()
