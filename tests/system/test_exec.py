"""exec: exit status, signals, job control, environment, sessions, and what the child can see."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

from harness import KEY, LIMIT, SystemTest, main, run_on_terminal, wait_for


class ExecTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.v = self.vault()
        self.ok(self.v.add("openai"))

    def test_the_exit_status_is_the_childs_own(self):
        for code in (0, 1, 2, 5, 6, 7, 100, 125, 126, 127, 255):
            self.assertEqual(self.v.run("exec", "-q", "--", "sh", "-c", f"exit {code}").code, code)
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV):
            self.assertEqual(self.v.run("exec", "-q", "--", "sh", "-c", f"kill -{int(number)} $$").code, 128 + number)

    def test_a_command_that_cannot_run(self):
        self.refused(self.v.run("exec", "-q", "--", "no-such-command"), 127, "cannot run no-such-command", "in PATH")
        self.refused(self.v.run("exec", "-q", "--", "/etc/passwd"), 126, "cannot run /etc/passwd", "executable")
        self.refused(self.v.run("exec", "-q", "--", "/no/such/file"), 127, "cannot run /no/such/file", "in PATH")

    def test_when_exec_itself_fails_no_child_is_started(self):
        marker = self.folder / "started"
        (self.v.path / "audit").rmdir()
        (self.v.path / "audit").write_text("not a folder")
        result = self.v.run("exec", "-q", "--", "touch", marker)
        self.assertEqual(result.code, 125, result)
        self.assertFalse(marker.exists())

    def test_the_command_may_stand_behind_dashes_or_not(self):
        self.assertEqual(self.v.run("exec", "-q", "echo", "-n", "a", "--with").out, "a --with")
        self.assertEqual(self.v.run("exec", "-q", "--", "echo", "-n", "--", "a").out, "-- a")
        self.assertEqual(self.v.run("exec", "-q", env={"SHELL": "/bin/echo"}).out, "\n")

    def test_levels_and_agents_of_other_names_are_refused(self):
        for level in ("none", "Strict", ""):
            self.refused(self.v.run("exec", "--isolation", level, "--", "true"), 2, "not a level of isolation", "strict, standard, off or auto")
        self.refused(self.v.run("exec", "--agent", "research", "--", "true"), 3, 'no agent "research"', "policy trust")
        self.refused(self.v.run("exec", "--with", "none", "--", "true"), 3, "no credential named none", "agentvault list")
        self.refused(self.v.run("exec", "--ttl", "soon", "--", "true"), 2, "not a duration", "15m")

    def test_the_session_line_tells_the_truth_and_q_silences_it(self):
        line = self.v.run("exec", "--", "true").err
        for part in ("isolation off", "software TPM: no hardware protection", "openai", "12h"):
            self.assertIn(part, line)
        self.assertEqual(self.v.run("exec", "-q", "--", "true").err, "")

    def test_with_narrows_to_what_is_named(self):
        self.ok(self.v.add("github"))
        names = lambda *options: self.v.run("exec", "-q", *options, "--", "env").out
        self.assertIn("GITHUB_TOKEN=agv_", names())
        only = names("--with", "openai")
        self.assertNotIn("GITHUB_TOKEN", only)
        self.assertIn("OPENAI_API_KEY=agv_", only)
        both = names("--with", "openai,github")
        self.assertIn("GITHUB_TOKEN=agv_", both)

    def test_each_variable_holds_a_token_of_its_own_without_dots(self):
        self.ok(self.v.add("github"))
        environment = self.session(self.v).environment
        tokens = [environment[name] for name in ("OPENAI_API_KEY", "GITHUB_TOKEN", "GH_TOKEN", "AGENTVAULT_TOKEN")]
        self.assertEqual(len(set(tokens)), 4)
        for token in tokens:
            self.assertRegex(token, r"^agv_[A-Za-z0-9_-]+$")
        self.assertRegex(environment["OPENAI_BASE_URL"], r"^http://127\.0\.0\.1:\d+/openai/v1$")

    def test_real_keys_and_the_vaults_own_variables_are_gone(self):
        out = self.v.run("exec", "--", "env", env={"OPENAI_API_KEY": KEY, "COPY": KEY, "AGENTVAULT_PIN_X": "1"})
        self.assertNotIn(KEY, out.out)
        self.assertNotIn("AGENTVAULT_HOME", out.out)
        self.assertNotIn("AGENTVAULT_PIN_X", out.out)
        self.assertIn("COPY held a granted key", out.err)

    def test_keys_of_others_are_passed_on_only_where_somebody_says_so(self):
        given = {"GITHUB_TOKEN": "standin-0123456789", "DATABASE_URL": "postgres://u:standin@db/x", "PLAIN": "x"}
        show = ("sh", "-c", "echo $GITHUB_TOKEN $DATABASE_URL $PLAIN")
        done = self.ok(self.v.run("exec", "--", *show, env=given))
        self.assertEqual(done.out, "x\n")
        self.assertRegex(done.err, r"(GITHUB_TOKEN, DATABASE_URL|DATABASE_URL, GITHUB_TOKEN) look like keys and are not passed on \(--keep")
        self.assertEqual(done.err.count("look like keys"), 1)
        done = self.ok(self.v.run("exec", "--keep", "GITHUB_TOKEN", "--", *show, env=given))
        self.assertEqual(done.out, "standin-0123456789 x\n")
        self.assertIn("DATABASE_URL looks like a key", done.err)
        policy = self.folder / "policy.toml"
        policy.write_text('version = 1\n[agents.default]\nkeep = ["DATABASE_URL", "NONE"]\n')
        self.ok(self.v.run("policy", "apply", policy))
        self.assertEqual(self.ok(self.v.run("exec", "-q", "--keep", "GITHUB_TOKEN", "--", *show, env=given)).out, "standin-0123456789 postgres://u:standin@db/x x\n")

    def test_two_credentials_that_claim_one_variable(self):
        self.ok(self.v.add("second", "--provider", "openai"))
        result = self.v.run("exec", "--", "true")
        self.refused(result, 2, "openai and second both claim OPENAI_", "--with")
        self.ok(self.v.run("exec", "-q", "--with", "second", "--", "true"))

    def test_exec_writes_nothing_into_the_database(self):
        database = self.v.path / "vault.db"
        before = database.read_bytes()
        self.ok(self.v.run("exec", "-q", "--", "true"))
        self.assertEqual(database.read_bytes(), before)

    def test_the_childs_umask_and_limits_are_the_users_own(self):
        mask = os.umask(0o027)
        try:
            self.assertEqual(self.v.run("exec", "-q", "--", "sh", "-c", "umask; ulimit -Sc").out.split()[0], "0027")
        finally:
            os.umask(mask)
        want = subprocess.run(["sh", "-c", "ulimit -Sc; ulimit -Hc"], capture_output=True, text=True).stdout
        self.assertEqual(self.v.run("exec", "-q", "--", "sh", "-c", "ulimit -Sc; ulimit -Hc").out, want)

    def test_the_child_inherits_only_the_standard_streams(self):
        out = self.v.run("exec", "-q", "--", "ls", "/proc/self/fd").out.split()
        self.assertLessEqual(set(out), {"0", "1", "2", "3"})  # 3 is the folder that ls reads

    def test_signals_are_blocked_for_nobody_but_exec(self):
        mask = self.v.run("exec", "-q", "--", "grep", "-E", "Sig(Blk|Ign)", "/proc/self/status").out
        plain = subprocess.run(["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"], capture_output=True, text=True).stdout
        self.assertEqual(mask, plain)

    def test_signals_reach_the_child(self):
        # os.write: a handler must not print while the program may be inside print itself.
        script = ("import os,signal,sys\n"
                  "def h(n,f): os.write(1,b'%d\\n'%n); n==signal.SIGTERM and sys.exit(9)\n"
                  "for n in (1,2,3,10,12,15,28): signal.signal(n,h)\n"
                  "print('ready',flush=True)\nwhile True: signal.pause()\n")
        process = subprocess.Popen(self.v.argv("exec", "-q", "--", sys.executable, "-c", script), env=self.v.environment,
                                   stdout=subprocess.PIPE, text=True)
        self.assertEqual(process.stdout.readline(), "ready\n")
        for number in (1, 2, 3, 10, 12, 28, 15):
            process.send_signal(number)
            self.assertEqual(process.stdout.readline(), f"{number}\n")
        self.assertEqual(process.wait(LIMIT), 9)
        process.stdout.close()

    def test_ctrl_c_reaches_the_child_once_and_exec_waits_for_it(self):
        script = ("import os,signal,sys\ncount=[0]\n"
                  "def h(n,f): count[0]+=1; os.write(1,b'interrupt %d\\n'%count[0])\n"
                  "signal.signal(2,h)\nprint('ready',flush=True)\nsys.stdin.readline()\nprint('total',count[0],flush=True)\nsys.exit(3)\n")
        code, output = run_on_terminal(self.v.argv("exec", "-q", "--", sys.executable, "-c", script), self.v.environment,
                                       [("ready", "\x03"), ("interrupt 1", "\n")])
        self.assertEqual(code, 3, output)
        self.assertIn("total 1", output)

    def test_ctrl_z_stops_both_and_fg_goes_on(self):
        # A real shell with job control on a terminal of its own.
        command = " ".join(map(str, self.v.argv("exec", "-q", "--", "sh", "-c", "'echo rea\"\"dy; read line; echo got $line; exit 4'")))
        code, output = run_on_terminal(["bash", "--norc", "-i"], {**self.v.environment, "PS1": "prompt> "},
                                       [("prompt> ", command + "\n"), ("ready", "\x1a"), ("Stopped", "fg\n"), ("sh -c", ""),
                                        ("fg", "again\n"), ("got again", "echo sta\"\"tus $?\nexit 0\n")])
        self.assertEqual(code, 0, output)
        self.assertIn("status 4", output)

    def test_the_terminal_is_the_users_own(self):
        code, output = run_on_terminal(self.v.argv("exec", "-q", "--", "sh", "-c", "tty; test -t 0 && test -t 1 && test -t 2"),
                                       self.v.environment, [])
        self.assertEqual(code, 0, output)
        self.assertIn("/dev/pts/", output)

    def test_an_interactive_shell_keeps_job_control(self):
        code, output = run_on_terminal(self.v.argv("exec", "-q", "--", "bash", "--norc", "-i"), {**self.v.environment, "PS1": "in> "},
                                       [("in> ", "sleep 60 & kill %1; wait; set -o | grep monitor; exit 6\n")])
        self.assertEqual(code, 6, output)
        self.assertRegex(output, r"monitor\s+on")

    def test_sessions_shows_a_running_one_and_forgets_the_dead(self):
        session = self.session(self.v)
        listed = json.loads(self.ok(self.v.run("sessions", "--json")).out)
        self.assertEqual([s["id"] for s in listed], [session.environment["AGENTVAULT_SESSION"]])
        self.assertEqual(listed[0]["pid"], session.process.pid)
        self.assertEqual(listed[0]["credentials"], ["openai"])
        self.assertEqual(listed[0]["command"], os.path.basename(sys.executable))
        self.assertEqual(session.stop(), 0)
        self.assertEqual(json.loads(self.v.run("sessions", "--json").out), [])
        killed = self.session(self.v)
        killed.process.kill()
        killed.process.wait(LIMIT)
        self.assertEqual(json.loads(self.v.run("sessions", "--json").out), [])
        self.assertEqual(list((self.v.path / "sessions").iterdir()), [])

    def test_sessions_and_starting_ones_do_not_disturb_each_other(self):
        stop = threading.Event()
        def look():
            while not stop.is_set():
                self.v.run("sessions")
        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            for _ in range(15):
                session = self.session(self.v)
                self.assertIn(session.environment["AGENTVAULT_SESSION"], self.v.run("sessions").out)
                self.assertEqual(session.stop(), 0)
        finally:
            stop.set()
            watcher.join(LIMIT)

    def test_nonsense_on_the_control_socket_is_answered_and_survived(self):
        session = self.session(self.v)
        path = self.v.path / "sessions" / (session.environment["AGENTVAULT_SESSION"] + ".sock")
        for line in (b'{"command":5}\n', b"[]\n", b"\xff\n", b"x" * 100000 + b"\n", b'{"command":"none"}\n'):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(LIMIT)
                client.connect(str(path))
                try:
                    client.sendall(line)
                    client.recv(1000)
                except OSError:
                    pass
        idle = [socket.socket(socket.AF_UNIX) for _ in range(20)]
        for client in idle:
            client.connect(str(path))
        wait_for(lambda: "does not answer" not in self.v.run("sessions").out, "the idle ones to be dropped")
        for client in idle:
            client.close()
        self.assertEqual(session.stop(), 0)

    def test_closed_standard_streams(self):
        for closed in ("0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"):
            command = " ".join(map(str, self.v.argv("exec", "--", "sh", "-c", "'exit 7'"))) + " " + closed
            self.assertEqual(subprocess.run(["bash", "-c", command], env=self.v.environment, capture_output=True).returncode, 7, closed)

    def test_an_ignored_sigchld_is_no_hindrance(self):
        command = "trap '' CHLD; exec " + " ".join(map(str, self.v.argv("exec", "-q", "--", "sh", "-c", "'exit 7'")))
        self.assertEqual(subprocess.run(["bash", "-c", command], env=self.v.environment, timeout=LIMIT).returncode, 7)

    def test_a_signal_that_comes_early_reaches_the_child(self):
        for _ in range(20):
            process = subprocess.Popen(self.v.argv("exec", "-q", "--", "sh", "-c", "echo up; exec sleep 100"), env=self.v.environment, stdout=subprocess.PIPE, text=True)
            self.assertEqual(process.stdout.readline(), "up\n")
            process.terminate()
            self.assertEqual(process.wait(LIMIT), 128 + signal.SIGTERM)
            process.stdout.close()

    def test_a_stopped_session_is_shown_as_not_answering(self):
        session = self.session(self.v)
        session.process.send_signal(signal.SIGSTOP)
        try:
            listed = json.loads(self.ok(self.v.run("sessions", "--json")).out)
            self.assertEqual(listed[0]["command"], "(does not answer)")
        finally:
            session.process.send_signal(signal.SIGCONT)

    def test_a_deep_vault_path_does_not_break_the_control_socket(self):
        deep = self.folder / ("d" * 60) / ("e" * 60) / "vault"
        self.v.environment["AGENTVAULT_HOME"] = str(deep)
        self.v.path = deep
        self.ok(self.v.init())
        self.ok(self.v.add("openai"))
        self.session(self.v)
        self.assertEqual(len(json.loads(self.v.run("sessions", "--json").out)), 1)

    def test_an_orphan_of_the_session_finds_the_broker_gone(self):
        marker = self.folder / "answer"
        script = ("import os,sys,time,urllib.request,urllib.error\n"
                  "if os.fork(): sys.exit(0)\n"
                  "os.setsid()\n"
                  "parent=int(sys.argv[2])\n"
                  "while os.path.exists(f'/proc/{parent}/exe'): time.sleep(0.01)\n"
                  "try: urllib.request.urlopen(os.environ['OPENAI_BASE_URL']+'/models'); out='answered'\n"
                  "except urllib.error.HTTPError as e: out=str(e.code)\n"
                  "except OSError as e: out='refused'\n"
                  "open(sys.argv[1]+'.part','w').write(out); os.rename(sys.argv[1]+'.part',sys.argv[1])\n")
        wrapper = f'exec {sys.executable} -c "$0" {marker} $PPID'
        self.ok(self.v.run("exec", "-q", "--", "sh", "-c", wrapper, script))
        wait_for(marker.exists, "the orphan's answer")
        self.assertEqual(marker.read_text(), "refused")

    def test_a_killed_exec_takes_its_tokens_with_it(self):
        session = self.session(self.v)
        session.process.kill()
        session.process.wait(LIMIT)
        with self.assertRaises(OSError):
            session.connect()
        next_session = self.session(self.v)
        status = next_session.request("GET", "/openai/v1/models", token=session.environment["OPENAI_API_KEY"])
        self.assert_error(status, 401, "token_invalid")

    def test_max_lifetime_ends_the_tokens_while_the_child_lives(self):
        session = self.session(self.v, "--max-lifetime", "1s")
        def refused():
            status = session.request("DELETE", "/openai/v1/models")
            return status if status[0] == 401 else None
        self.assert_error(wait_for(refused, "the end of the lease"), 401, "token_expired")
        self.assertIsNone(session.process.poll())

    def test_the_lease_is_renewed_while_the_child_lives(self):
        session = self.session(self.v, "--ttl", "1s")
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            self.assertEqual(session.request("DELETE", "/openai/v1/models")[0], 403)

    def test_the_audit_log_holds_the_session(self):
        self.session(self.v).stop()
        kinds = [event["event"] for event in self.v.events()]
        self.assertEqual(kinds, ["session-began", "session-ended"])


class NothingSeenTest(SystemTest):
    """What the child, and everything of the same user that does not read our memory, can see of the key and of M."""

    def setUp(self):
        super().setUp()
        self.up = self.upstream()
        self.v = self.vault()
        self.ok(self.v.add("api", "--url", self.up.url, "--ca-file", self.certificate.pem, "--env", "API_KEY"))

    def test_the_key_is_nowhere_the_child_can_look(self):
        script = ("import os,glob,sys\n"
                  "for p in glob.glob('/proc/[0-9]*/environ')+glob.glob('/proc/[0-9]*/cmdline'):\n"
                  "  try: sys.stdout.write(open(p,errors='replace').read())\n"
                  "  except OSError: pass\n"
                  "for base in (os.environ['VAULT'],):\n"
                  "  for f,_,n in os.walk(base):\n"
                  "    for x in n:\n"
                  "      p=os.path.join(f,x)\n"
                  "      if os.path.isfile(p): sys.stdout.write(open(p,errors='replace').read())\n")
        out = self.v.run("exec", "--", sys.executable, "-c", script, env={"VAULT": str(self.v.path)})
        self.ok(out)
        self.assertNotIn(KEY, out.out + out.err)

    def test_a_broker_is_not_dumpable_and_leaves_no_core(self):
        session = self.session(self.v)
        status = pathlib.Path(f"/proc/{session.process.pid}/limits").read_text()
        self.assertRegex(status, r"Max core file size +0 +0")
        owner = os.stat(f"/proc/{session.process.pid}/mem").st_uid
        self.assertEqual(owner, 0)  # an undumpable process' files belong to root

    def test_an_unprivileged_child_cannot_read_the_broker(self):
        if os.getuid() != 0:
            self.skipTest("SKIPPED: needs root to become another user")
        self.folder.chmod(0o755)
        home = self.folder / "user"
        home.mkdir()
        os.chown(home, 65534, 65534)
        vault_path = home / "vault"
        environment = {**self.v.environment, "AGENTVAULT_HOME": str(vault_path), "HOME": str(home)}
        run = lambda *words, **o: subprocess.run(self.v.argv(*words), env=environment, user=65534, group=65534, extra_groups=[],
                                                 text=True, capture_output=True, timeout=LIMIT, cwd="/", **o)
        self.assertEqual(run("init", "--tpm", "embedded").returncode, 0)
        self.assertEqual(run("add", "openai", "--stdin", input=KEY).returncode, 0)
        script = ("import os\np=os.getppid()\n"
                  "for name in ('mem','environ','maps','fd'):\n"
                  "  try:\n"
                  "    os.listdir(f'/proc/{p}/fd') if name=='fd' else open(f'/proc/{p}/{name}','rb').read(1)\n"
                  "    print(name,'open')\n"
                  "  except PermissionError: print(name,'denied')\n"
                  "  except OSError: print(name,'open')\n")
        result = run("exec", "-q", "--", "/usr/bin/python3", "-c", script)
        self.assertEqual(result.stdout.split("\n")[:4], ["mem denied", "environ denied", "maps denied", "fd denied"], result)
        # The same look at an ordinary process succeeds, so this test can fail.
        control = subprocess.run(["sh", "-c", "/usr/bin/python3 -c \"$0\"; true", script], user=65534, group=65534, extra_groups=[],
                                 capture_output=True, text=True, cwd="/")
        self.assertIn("environ open", control.stdout)

    def memory(self, pid):
        regions = b""
        with open(f"/proc/{pid}/mem", "rb") as memory:
            for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
                bounds, permissions = line.split()[:2]
                if not permissions.startswith("r") or "[v" in line:
                    continue
                begin, end = (int(x, 16) for x in bounds.split("-"))
                try:
                    memory.seek(begin)
                    regions += memory.read(end - begin)
                except (OSError, ValueError):
                    pass
        return regions

    def test_the_master_key_is_not_in_the_brokers_memory(self):
        if os.getuid() != 0:
            self.skipTest("SKIPPED: only root may look")
        if "AGENTVAULT_SANITIZED" in os.environ:
            self.skipTest("SKIPPED: a sanitized process maps terabytes and does not lock its memory")
        master = subprocess.run([os.environ["AGENTVAULT_MASTER_KEY"], str(self.v.path)], capture_output=True, check=True).stdout
        self.assertEqual(len(master), 32)
        session = self.session(self.v)
        self.assertEqual(session.request("GET", "/api/x")[0], 200)
        memory = self.memory(session.process.pid)
        self.assertIn(session.token.encode(), memory)  # the search itself works
        self.assertNotIn(master, memory)
        for part in (master[:16], master[16:]):
            self.assertNotIn(part, memory)

    def test_a_taken_key_is_not_in_the_process_that_holds_the_agent(self):
        if os.getuid() != 0:
            self.skipTest("SKIPPED: only root may look")
        if "AGENTVAULT_SANITIZED" in os.environ:
            self.skipTest("SKIPPED: a sanitized process maps terabytes and does not lock its memory")
        for level in ("standard", "strict"):
            process = subprocess.Popen(self.v.argv("exec", "-q", "--isolation", level, "--take", "OPENAI_API_KEY", "--", "sh", "-c", "echo in; cat"),
                                       env={**self.v.environment, "OPENAI_API_KEY": KEY}, cwd=self.folder, stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True)
            self.assertEqual(process.stdout.readline(), "in\n")
            children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            self.assertEqual(len(children), 1)
            memory = self.memory(int(children[0]))
            self.assertIn(b"OPENAI_API_KEY=agv_", memory)  # the search itself works
            self.assertNotIn(KEY.encode(), memory)
            process.communicate(timeout=LIMIT)

    def test_the_key_lies_in_hidden_or_locked_pages_only_and_outside_dumps(self):
        if os.getuid() != 0:
            self.skipTest("SKIPPED: only root may look")
        if "AGENTVAULT_SANITIZED" in os.environ:
            self.skipTest("SKIPPED: a sanitized process maps terabytes and does not lock its memory")
        session = self.session(self.v)
        self.assertEqual(session.request("GET", "/api/x")[0], 200)
        found = []
        smaps = pathlib.Path(f"/proc/{session.process.pid}/smaps").read_text()
        with open(f"/proc/{session.process.pid}/mem", "rb") as memory:
            for block in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", smaps):
                head = block.split("\n")[0].split()
                if not head[1].startswith("r") or "[v" in block.split("\n")[0]:
                    continue
                begin, end = (int(x, 16) for x in head[0].split("-"))
                try:
                    memory.seek(begin)
                    data = memory.read(end - begin)
                except (OSError, ValueError):
                    continue
                if KEY.encode() in data:
                    found.append(block)
        if "secretmem" in smaps:
            self.assertEqual(found, [])  # not even root reads it, between two requests
        else:
            self.assertTrue(found)
        for block in found:
            flags = re.search(r"VmFlags: (.*)", block).group(1).split()
            self.assertIn("lo", flags, block)
            self.assertIn("dd", flags, block)


if __name__ == "__main__":
    main()
