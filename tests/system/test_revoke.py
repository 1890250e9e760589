"""What is revoked stays revoked: live sessions obey at once, older copies of the vault open no more."""
import fcntl
import json
import os
import pathlib
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time

from harness import KEY, LIMIT, PROGRAM, Session, SystemTest, Vault, main, read_until_closed, run_on_terminal, wait_for
from tpm_meddler import TpmMeddler

PROXY = pathlib.Path(__file__).with_name("tpm_proxy.py")


class RevokeTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.up = self.upstream()
        self.v = self.vault()
        self.ok(self.v.add("api", "--url", self.up.url, "--ca-file", self.certificate.pem))

    def sessions(self, count):
        return [self.session(self.v) for _ in range(count)]

    def allowed(self, session, **options):
        return session.request("GET", "/api/x", **options)[0]

    def id_of(self, session):
        return session.environment["AGENTVAULT_SESSION"]

    def delegate(self, session):
        return self.ok(self.v.run("token", "attenuate", session.token, "--path", "/**")).out.strip()

    def inspect(self, token):
        return json.loads(self.ok(self.v.run("token", "inspect", token, "--json")).out)

    def open_stream(self, session, token=None):
        """A connection on which a response without end is under way."""
        stop = threading.Event()
        self.addCleanup(stop.set)
        def route(handler, body):
            handler.start_chunked()
            while not stop.is_set():
                handler.chunk(b"tick\n")
                time.sleep(0.01)
        self.up.routes["/stream"] = route
        connection = session.connect()
        self.addCleanup(connection.close)
        connection.sendall(f"GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1:{session.port}\r\nAuthorization: Bearer {token or session.token}\r\n\r\n".encode())
        self.assertIn(b"HTTP/1.1 200", connection.recv(4096))
        return connection

    # --- sessions

    def test_a_session_is_revoked_and_the_others_go_on(self):
        one, two = self.sessions(2)
        stream, other = self.open_stream(one), self.open_stream(two)
        result = self.ok(self.v.run("revoke", "--session", self.id_of(one).upper()))
        self.assertIn("its tokens are worthless", result.err)
        self.assertFalse(read_until_closed(stream).endswith(b"0\r\n\r\n"))
        self.assert_error(one.request("GET", "/api/x"), 401, "session_revoked")
        self.assertEqual(self.allowed(two), 200)
        self.assertTrue(other.recv(10))
        self.assertIn("everything", [e["what"] for e in self.v.events() if e["event"] == "withdrawn"])
        self.assertEqual(one.stop(), 0)  # the child itself goes on, and ends as it would

    def test_unknown_and_ended_sessions(self):
        self.refused(self.v.run("revoke", "--session", "0011223344556677"), 3, "no session", "sessions")
        self.refused(self.v.run("revoke", "--session", "00" * 60), 2, "not the id of a session", "sessions")
        self.refused(self.v.run("revoke", "--session", "../x"), 2, "not the id of a session", "sessions")
        one = self.session(self.v)
        one.stop()
        self.refused(self.v.run("revoke", "--session", self.id_of(one)), 3, "no session", "sessions")

    def test_a_stopped_process_is_killed(self):
        one, two = self.sessions(2)
        one.process.send_signal(signal.SIGSTOP)
        result = self.ok(self.v.run("revoke", "--session", self.id_of(one)))
        self.assertIn("did not answer and was killed", result.err)
        self.assertEqual(one.process.wait(LIMIT), -signal.SIGKILL)
        self.assertEqual(self.allowed(two), 200)

    def test_a_process_whose_control_queue_is_full_is_killed(self):
        one = self.session(self.v)
        one.process.send_signal(signal.SIGSTOP)
        waiting = []
        with open_directory(self.v.path / "sessions") as folder:
            path = f"/proc/self/fd/{folder}/{self.id_of(one)}.sock"
            while True:
                connection = socket.socket(socket.AF_UNIX)
                connection.setblocking(False)
                self.addCleanup(connection.close)
                try:
                    connection.connect(path)
                except BlockingIOError:
                    break
                waiting.append(connection)
        self.assertIn("was killed", self.ok(self.v.run("revoke", "--session", self.id_of(one))).err)
        self.assertEqual(one.process.wait(LIMIT), -signal.SIGKILL)

    def test_an_impostor_on_the_control_socket_is_not_believed(self):
        one = self.session(self.v)
        with open_directory(self.v.path / "sessions") as folder:
            path = f"/proc/self/fd/{folder}/{self.id_of(one)}.sock"
            os.unlink(path)
            impostor = socket.socket(socket.AF_UNIX)
            self.addCleanup(impostor.close)
            impostor.bind(path)
            impostor.listen()
            def answer():
                while True:
                    try:
                        connection, _ = impostor.accept()
                        connection.sendall(b'{"done":true}\n')
                    except OSError:
                        return
            threading.Thread(target=answer, daemon=True).start()
            self.assertIn("was killed", self.ok(self.v.run("revoke", "--session", self.id_of(one))).err)
        self.assertEqual(one.process.wait(LIMIT), -signal.SIGKILL)

    def vault_with_pin(self):
        vault = Vault(self.folder / "pin")
        vault.folder.mkdir()
        pin = self.folder / "pin-file"
        pin.write_text("2468")
        pin.chmod(0o600)
        self.ok(vault.init("--pin-file", pin))
        return vault, pin

    def test_a_session_that_is_just_starting_is_stopped(self):
        vault, _ = self.vault_with_pin()
        result = {}
        def start():
            result["code"], result["output"] = run_on_terminal(vault.argv("exec", "-q", "--", "echo", "it ran"), vault.environment, [])
        thread = threading.Thread(target=start)
        thread.start()
        waiting = wait_for(lambda: json.loads(vault.run("sessions", "--json").out), "the session that asks for its PIN")
        self.ok(vault.run("revoke", "--session", waiting[0]["id"]))
        thread.join(LIMIT)
        self.assertEqual(result["code"], 4, result)
        self.assertIn("revoked before it began", result["output"])
        self.assertNotIn("it ran", result["output"])

    def test_a_session_that_is_just_starting_reads_a_rotated_vault_anew(self):
        vault, pin = self.vault_with_pin()
        result = {}
        def start():
            twice = [("PIN: ", ""), ("PIN: ", "2468\n")]
            result["code"], result["output"] = run_on_terminal(vault.argv("exec", "-q", "--", "echo", "it ran"), vault.environment, twice)
        thread = threading.Thread(target=start)
        thread.start()
        wait_for(lambda: json.loads(vault.run("sessions", "--json").out), "the session that asks for its PIN")
        self.ok(vault.run("rotate", "--pin-file", pin))
        thread.join(LIMIT)
        self.assertEqual(result["code"], 0, result)
        self.assertIn("it ran", result["output"])

    def test_a_credential_removed_while_a_session_starts_is_not_in_it(self):
        """The opener is held right after it has read the vault: then the credential goes."""
        tpm = self.swtpm()
        meddler = TpmMeddler(self.folder, tpm.path)
        self.addCleanup(meddler.stop)
        folder = self.folder / "second"
        folder.mkdir()
        vault = Vault(folder, meddler.name)
        self.ok(vault.init())
        self.ok(vault.add("api", "--url", self.up.url, "--ca-file", self.certificate.pem))
        reached, go = threading.Event(), threading.Event()
        self.addCleanup(go.set)
        def hold(number, code):
            if code == 0x15E and not reached.is_set():  # Unseal
                reached.set()
                go.wait(LIMIT)
        meddler.fault = hold
        started = []
        thread = threading.Thread(target=lambda: started.append(Session(vault)))
        thread.start()
        self.assertTrue(reached.wait(LIMIT))
        # Past the meddler, whose TPM lock the opener holds.
        removal = subprocess.Popen(vault.argv("--tpm", tpm.name, "remove", "api"), env=vault.environment, stderr=subprocess.PIPE, text=True)
        self.assertEqual(removal.wait(LIMIT), 0)
        removal.stderr.close()
        go.set()
        thread.join(LIMIT)
        if not started:
            return  # the TPM had moved on: the opener was refused, or found the credential gone
        self.addCleanup(started[0].stop)
        self.assertIn(started[0].request("GET", "/api/x")[0], (403, 404))
        self.assertEqual(self.up.requests, [])

    # --- tokens

    def test_one_token_is_revoked_by_its_text(self):
        one = self.session(self.v)
        first, second = self.delegate(one), self.delegate(one)
        stream = self.open_stream(one, first)
        self.ok(self.v.run("revoke", "--token", first))
        self.assertFalse(read_until_closed(stream).endswith(b"0\r\n\r\n"))
        self.assert_error(one.request("GET", "/api/x", token=first), 401, "token_revoked")
        self.assertEqual(self.allowed(one, token=second), 200)
        self.assertEqual(self.allowed(one), 200)

    def test_what_was_made_from_a_revoked_token_is_revoked_with_it(self):
        one = self.session(self.v)
        parent = self.delegate(one)
        child = self.ok(self.v.run("token", "attenuate", parent, "--method", "GET")).out.strip()
        self.ok(self.v.run("revoke", "--token", parent))
        self.assert_error(one.request("GET", "/api/x", token=child), 401, "token_revoked")

    def test_a_token_is_revoked_by_its_id(self):
        one, two = self.sessions(2)
        self.refused(self.v.run("revoke", "--token", "0011223344556677"), 3, "no running session has such a token", "--session")
        self.refused(self.v.run("revoke", "--token", self.id_of(one)), 3, "no running session has such a token", "--session")
        two.process.send_signal(signal.SIGSTOP)  # none of its business: it is not killed
        self.ok(self.v.run("revoke", "--token", self.inspect(one.token)["id"].upper()))
        two.process.send_signal(signal.SIGCONT)
        self.assert_error(one.request("GET", "/api/x"), 401, "token_revoked")
        # The session's other tokens are others.
        self.assertEqual(self.allowed(two), 200)

    def test_tokens_that_are_none_or_of_no_session(self):
        self.refused(self.v.run("revoke", "--token", "agv_nonsense"), 2, "not a token", "agv_")
        self.refused(self.v.run("revoke", "--token", "xyz"), 2, "not the id of a token", "token inspect")
        one = self.session(self.v)
        token = one.token
        one.stop()
        self.refused(self.v.run("revoke", "--token", token), 3, "no running session has such a token", "worthless")

    # --- agents and everything

    def test_an_agent_is_revoked_until_it_is_readmitted(self):
        one = self.session(self.v)
        old = (self.v.path / "vault.db").read_bytes()
        self.ok(self.v.run("revoke", "--agent", "default"))
        self.assert_error(one.request("GET", "/api/x"), 401, "session_revoked")
        self.refused(self.v.run("exec", "--", "true"), 4, "is revoked", "--lift")
        self.assertIn("default", self.v.run("status").out)
        newest = (self.v.path / "vault.db").read_bytes()
        (self.v.path / "vault.db").write_bytes(old)
        self.refused(self.v.run("exec", "--", "true"), 6, "older than the TPM's epoch", "newest copy")
        (self.v.path / "vault.db").write_bytes(newest)
        self.ok(self.v.run("revoke", "--agent", "default", "--lift"))
        self.ok(self.v.run("exec", "-q", "--", "true"))
        self.refused(self.v.run("revoke", "--agent", "default", "--lift"), 3, "not revoked", "status")

    def test_all(self):
        sessions = self.sessions(3)
        old = (self.v.path / "vault.db").read_bytes()
        self.ok(self.v.run("revoke", "--all"))
        for session in sessions:
            self.assert_error(session.request("GET", "/api/x"), 401, "session_revoked")
        self.assertEqual(self.allowed(self.session(self.v)), 200)
        (self.v.path / "vault.db").write_bytes(old)
        self.refused(self.v.run("exec", "--", "true"), 6, "older than the TPM's epoch", "newest copy")

    def test_no_request_is_allowed_after_it_returned(self):
        sessions = self.sessions(4)
        returned, stop, late = threading.Event(), threading.Event(), []
        def hammer(session):
            while not stop.is_set():
                after = returned.is_set()
                status = self.allowed(session)
                if after and status != 401:
                    late.append(status)
        threads = [threading.Thread(target=hammer, args=(s,)) for s in sessions]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(self.up.requests) > 40, "requests")
        self.ok(self.v.run("revoke", "--all"))
        returned.set()
        seen = len(self.up.requests)
        for session in sessions:
            self.assertEqual(self.allowed(session), 401)
        stop.set()
        for thread in threads:
            thread.join(LIMIT)
        self.assertEqual(late, [])
        self.assertEqual(len(self.up.requests), seen)

    def test_a_broken_database_keeps_no_session_alive(self):
        one = self.session(self.v)
        (self.v.path / "vault.db").write_bytes(b"x" * 8192)
        for suffix in ("-wal", "-shm"):
            pathlib.Path(str(self.v.path / "vault.db") + suffix).unlink(missing_ok=True)
        self.assertEqual(self.v.run("revoke", "--all").code, 6)
        self.assert_error(one.request("GET", "/api/x"), 401, "session_revoked")

    def test_a_vanished_database_keeps_no_session_alive(self):
        for target in (["--all"], ["--agent", "default"], ["--session"]):
            one = self.session(self.v)
            (self.v.path / "vault.db").rename(self.folder / "vault.db")
            code = self.v.run("revoke", *target, *([self.id_of(one)] if target == ["--session"] else [])).code
            self.assertEqual(code, 0 if target == ["--session"] else 3)
            self.assert_error(one.request("GET", "/api/x"), 401, "session_revoked")
            (self.folder / "vault.db").rename(self.v.path / "vault.db")

    def test_none_is_said_only_when_it_is_true(self):
        one = self.session(self.v)
        sessions = self.v.path / "sessions"
        sessions.rename(self.v.path / "hidden")
        for words in (["revoke", "--all"], ["revoke", "--agent", "default"], ["sessions"], ["status"]):
            self.refused(self.v.run(*words), 1, "cannot look for running sessions", "by hand")
        (self.v.path / "hidden").rename(sessions)
        self.ok(self.v.run("revoke", "--all"))
        self.assert_error(one.request("GET", "/api/x"), 401, "session_revoked")

    def test_what_was_told_is_done_whoever_else_writes_to_the_table(self):
        before = json.loads(self.v.run("status", "--json").out)
        with sqlite3.connect(self.v.path / "vault.db") as database:
            database.executemany("INSERT INTO intent VALUES ('revoke-agent', ?)", [(f"!{n:05}",) for n in range(2500)])
        self.ok(self.v.run("revoke", "--agent", "default"))
        self.ok(self.v.run("revoke", "--all"))
        after = json.loads(self.v.run("status", "--json").out)
        self.assertEqual(after["revoked agents"], ["default"])
        self.assertEqual((after["generation"], after["barrier"]), (before["generation"] + 1, "complete"))
        # Deleted between writing it down and answering it: done all the same.
        stop = threading.Event()
        def delete():
            while not stop.is_set():
                with sqlite3.connect(self.v.path / "vault.db", timeout=5) as database:
                    database.execute("DELETE FROM intent")
        thread = threading.Thread(target=delete)
        thread.start()
        try:
            results = [self.v.run("revoke", "--all") for _ in range(4)]
        finally:
            stop.set()
            thread.join(LIMIT)
        done = sum(result.code == 0 for result in results)
        self.assertGreaterEqual(json.loads(self.v.run("status", "--json").out)["generation"], after["generation"] + done)

    def test_whatever_holds_up_the_database_sessions_are_stopped(self):
        # A pipe in the journal's place; and somebody who holds both the database and the room in reserve.
        for how in ("pipe", "locks"):
            one = self.session(self.v)
            held = []
            journal = self.v.path / "vault.db-journal"
            if how == "pipe":
                os.mkfifo(journal, 0o600)
            else:
                held.append(sqlite3.connect(self.v.path / "vault.db", isolation_level=None))
                held[0].execute("BEGIN IMMEDIATE")
                held.append(open(self.v.path / "revocations", "rb"))
                fcntl.flock(held[1], fcntl.LOCK_EX)
            result = self.v.run("revoke", "--all")
            self.refused(result, 6 if how == "pipe" else 1, "all sessions are stopped, but nothing is revoked", "then run this again")
            self.assert_error(one.request("GET", "/api/x"), 401, "session_revoked")
            for holder in held:
                holder.close()
            journal.unlink(missing_ok=True)
            self.ok(self.v.run("revoke", "--all"))

    def test_very_many_names_are_one_change(self):
        with sqlite3.connect(self.v.path / "vault.db") as database:
            database.executemany("INSERT INTO intent VALUES ('revoke-agent', ?)", [(f"n{n}",) for n in range(20_000)])
        before = json.loads(self.v.run("status", "--json").out)["epoch"]
        self.ok(self.v.run("revoke", "--agent", "default"))
        self.assertEqual(json.loads(self.v.run("status", "--json").out)["epoch"], before + 1)

    def test_prompts_lock_nothing(self):
        """Somebody is asked for a new PIN, and everybody else goes on."""
        outcome = []
        def ask():
            outcome.append(run_on_terminal(self.v.argv("pin", "change"), self.v.environment, [], limit=6))
        thread = threading.Thread(target=ask)
        thread.start()
        wait_for(lambda: subprocess.run(["pgrep", "-fx", f"{PROGRAM} pin change"], capture_output=True).returncode == 0, "the prompt")
        self.ok(self.v.run("revoke", "--all"))
        self.ok(self.v.run("exec", "-q", "--", "true"))
        self.assertTrue(thread.is_alive())
        thread.join(LIMIT)

    def test_usage(self):
        self.refused(self.v.run("revoke"), 2, "exactly one of", "sessions")
        self.refused(self.v.run("revoke", "--all", "--session", "00"), 2, "exactly one of", "sessions")
        self.refused(self.v.run("revoke", "--all", "--lift"), 2, "only an agent's revocation", "--agent")
        self.refused(self.v.run("revoke", "--agent", "nobody"), 3, "there is no agent", "policy show --all")

    # --- without the TPM's help

    def test_with_a_forgotten_pin_sessions_die_and_the_next_opener_finishes(self):
        pin, wrong = self.folder / "right", self.folder / "wrong"
        for file, text in ((pin, "2468"), (wrong, "1111")):
            file.write_text(text)
            file.chmod(0o600)
        self.ok(self.v.run("pin", "change", "--new-pin-file", pin))
        one = self.session(self.v, "--pin-file", pin)
        for target in (["--agent", "default"], ["--all"]):
            self.refused(self.v.run("revoke", *target, "--pin-file", wrong), 7, "sessions are stopped", "finishes it")
        self.assert_error(one.request("GET", "/api/x"), 401, "session_revoked")
        before = json.loads(self.v.run("status", "--json").out)
        self.assertIn("waits", before["barrier"])
        self.refused(self.v.run("exec", "--pin-file", pin, "--", "true"), 4, "is revoked", "--lift")
        after = json.loads(self.v.run("status", "--json").out)
        self.assertEqual(after["barrier"], "complete")
        self.assertGreater(after["epoch"], before["epoch"])
        self.assertEqual(after["generation"], before["generation"] + 1)

    def test_an_intent_that_is_nonsense_takes_nothing_but_time(self):
        with sqlite3.connect(self.v.path / "vault.db") as database:
            database.execute("INSERT INTO intent VALUES ('revoke-agent', ?)", ("no\nname\x1b",))
        self.ok(self.v.run("exec", "-q", "--", "true"))
        with sqlite3.connect(self.v.path / "vault.db") as database:
            self.assertEqual(database.execute("SELECT count(*) FROM intent").fetchone(), (0,))

    # --- rotate

    def test_rotate_makes_a_new_generation_and_ends_what_is_running(self):
        one = self.session(self.v)
        old = (self.v.path / "vault.db").read_bytes()
        before = json.loads(self.v.run("status", "--json").out)
        self.ok(self.v.run("rotate"))
        self.assert_error(one.request("GET", "/api/x"), 401, "session_revoked")
        after = json.loads(self.v.run("status", "--json").out)
        self.assertEqual((after["generation"], after["epoch"]), (before["generation"] + 1, before["epoch"] + 1))
        self.assertEqual(self.allowed(self.session(self.v)), 200)
        self.assertEqual(self.up.header(0, "Authorization"), "Bearer " + KEY)
        (self.v.path / "vault.db").write_bytes(old)
        self.refused(self.v.run("exec", "--", "true"), 6, "older than the TPM's epoch", "newest copy")

    def test_rotate_takes_no_name(self):
        self.refused(self.v.run("rotate", "api"), 2, "the whole vault", "add api --replace")

    # --- credentials

    def test_a_removed_or_replaced_credential_is_taken_from_running_sessions(self):
        self.ok(self.v.add("other", "--url", self.up.url, "--ca-file", self.certificate.pem))
        for words in (["add", "api", "--replace", "--stdin"], ["remove", "api"]):
            one = self.session(self.v)
            stream = self.open_stream(one)
            self.ok(self.v.run(*words, stdin=KEY))
            self.assertFalse(read_until_closed(stream).endswith(b"0\r\n\r\n"))
            self.assert_error(one.request("GET", "/api/x"), 403, "credential_withdrawn")
            self.assertEqual(one.request("GET", "/other/x")[0], 200)

    def test_a_session_that_does_not_answer_is_named_when_its_credential_goes(self):
        one = self.session(self.v)
        one.process.send_signal(signal.SIGSTOP)
        self.assertIn(f"session {self.id_of(one)} does not answer", self.ok(self.v.run("remove", "api")).err)
        one.process.send_signal(signal.SIGCONT)

    # --- who may

    def test_another_user_cannot_stop_a_session(self):
        if os.getuid() != 0:
            self.skipTest("SKIPPED: becoming another user needs root")
        one = self.session(self.v)
        for folder in (self.folder, self.v.path, self.v.path / "sessions"):
            folder.chmod(0o755)  # as if their owner had opened them
        path = str(self.v.path / "sessions" / (self.id_of(one) + ".sock"))
        code = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({path!r})"
        denied = subprocess.run([sys.executable, "-c", code], user=65534, group=65534, extra_groups=[], capture_output=True, text=True)
        self.assertIn("PermissionError", denied.stderr)
        self.assertEqual(self.allowed(one), 200)


class SwtpmRevokeTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.tpm = self.swtpm()
        self.up = self.upstream()
        self.v = self.vault(self.tpm.name)
        self.ok(self.v.add("api", "--url", self.up.url, "--ca-file", self.certificate.pem))

    def proxy(self, *options):
        return "cmd:" + " ".join(map(str, [sys.executable, PROXY, self.tpm.path, *options]))

    def test_without_a_tpm_sessions_die_and_the_next_opener_finishes(self):
        one = self.session(self.v)
        self.tpm.stop()
        self.refused(self.v.run("revoke", "--all"), 7, "sessions are stopped", "finishes it")
        self.assert_error(one.request("GET", "/api/x"), 401, "session_revoked")
        self.tpm.start()
        generation = json.loads(self.v.run("status", "--json").out)["generation"]
        self.ok(self.v.run("exec", "-q", "--", "true"))
        self.assertEqual(json.loads(self.v.run("status", "--json").out)["generation"], generation + 1)

    def test_nothing_is_granted_while_a_revocation_cannot_be_made(self):
        self.tpm.stop()
        self.assertEqual(self.v.run("revoke", "--agent", "default").code, 7)
        self.tpm.start()
        # An opener that cannot finish grants nothing; a stage that is durable is served, never what was before.
        for command, code in (("153", 7), ("136", 7), ("134", 4)):  # Create, NV_Extend, NV_Increment
            self.assertEqual(self.v.run("--tpm", self.proxy(f"fail={command}:101"), "exec", "--", "true").code, code)
        self.refused(self.v.run("exec", "--", "true"), 4, "is revoked", "--lift")

    def test_fifty_sessions(self):
        sessions = [self.session(self.v) for _ in range(50)]
        begin = time.monotonic()
        self.ok(self.v.run("revoke", "--all"))
        for session in sessions:
            self.assertEqual(session.request("GET", "/api/x")[0], 401)
        print(f"revoke --all with 50 live sessions, until the last refusal: {time.monotonic() - begin:.2f} s", file=sys.stderr)


class open_directory:
    def __init__(self, path):
        self.path = path

    def __enter__(self):
        self.fd = os.open(self.path, os.O_PATH | os.O_DIRECTORY)
        return self.fd

    def __exit__(self, *_):
        os.close(self.fd)


if __name__ == "__main__":
    main()
