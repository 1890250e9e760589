"""The agent's own terminal: it works as the person's, and what is typed to anybody else never reaches the agent."""
import fcntl
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

from cell import WALLS, IsolationTest
from harness import LIMIT, another_in_front, main, run_on_terminal, wait_for


class TerminalTest(IsolationTest):
    def test_the_terminal_keeps_working(self):
        for level in WALLS:
            with self.subTest(level):
                command = " ".join(map(str, self.v.argv("exec", "-q", "--isolation", level, "--", "sh", "-c", "'echo rea\"\"dy; read line; echo got $line; exit 4'")))
                code, output = run_on_terminal(["bash", "--norc", "-i"], {**self.v.environment, "PS1": "prompt> "},
                                               [("prompt> ", command + "\n"), ("ready", "\x1a"), ("Stopped", "fg\n"), ("sh -c", ""), ("fg", "again\n"),
                                                ("got again", ""), ("prompt> ", "echo sta\"\"tus $?\nexit 0\n")])
                self.assertEqual(code, 0, output)
                self.assertIn("status 4", output)
                # Ctrl-C ends the agent, and exec says so like a shell.
                command = " ".join(map(str, self.v.argv("exec", "-q", "--isolation", level, "--", sys.executable, "-c", "'import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); print(\"rea\"+\"dy\", flush=True); signal.pause()'")))
                code, output = run_on_terminal(["bash", "--norc", "-i"], {**self.v.environment, "PS1": "prompt> "},
                                               [("prompt> ", command + "\n"), ("ready", "\x03"), ("prompt> ", "echo sta\"\"tus $?\nexit 0\n")])
                self.assertIn("status 130", output)
                # A shell inside has job control, colours and the size of the window.
                code, output = run_on_terminal(self.v.argv("exec", "-q", "--isolation", level, "--", "bash", "--norc", "-i"), {**self.v.environment, "PS1": "in> ", "TERM": "xterm"},
                                               [("in> ", "stty size; tput setaf 1 | od -c | head -1; sleep 60 & kill %1; wait; set -o | grep monitor; exit 6\n")])
                self.assertEqual(code, 6, output)
                self.assertRegex(output, r"monitor\s+on")
                self.assertRegex(output, r"\d+ \d+\r\n")

    def test_a_terminal_that_goes_away_ends_the_session(self):
        """The kernel tells only the leader of its session, which exec is in a window of its own."""
        for level in ("off", *WALLS):
            argv = self.v.argv("exec", "-q", "--isolation", level, "--", "sh", "-c", "echo rea''dy; exec sleep 1000")
            pid, master = pty.fork()
            if pid == 0:
                os.chdir(self.project)
                os.execvpe(argv[0], argv, self.v.environment)
            self.addCleanup(lambda pid=pid: subprocess.run(["kill", "-9", str(pid)], capture_output=True))
            output = b""
            while b"ready" not in output:
                output += os.read(master, 4096)
            os.close(master)
            _, status = wait_for(lambda: (ended := os.waitpid(pid, os.WNOHANG))[0] and ended, f"{level}: the end")
            self.assertEqual(os.waitstatus_to_exitcode(status), 128 + signal.SIGHUP)

    def shell(self, answers, env=None):
        code, output = run_on_terminal(["bash", "--norc", "-i"], {**self.v.environment, "PS1": "prompt> ", **(env or {})}, answers)
        return code, output.replace("\x1b[?2004h", "").replace("\x1b[?2004l", "")

    def line(self, level, *words, quote=True):
        words = [f"'{word}'" if quote else word for word in words]
        return " ".join(map(str, self.v.argv("exec", "-q", "--isolation", level, "--"))) + " " + " ".join(words)

    PAUSE = 'import signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); sys.stderr.write("rea" + "dy"); sys.stderr.flush(); signal.pause()'

    READER = """
import os, sys, time
# It leaves the session, and reads on from whatever terminal it was given.
if os.fork() == 0:
    os.setsid()
    os.close(1); os.close(2)
    log = os.open("read.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.write(log, b"started\\n")
    while True:
        os.write(log, os.read(0, 100) or sys.exit())
while "started" not in (open("read.txt").read() if os.path.exists("read.txt") else ""): time.sleep(0.01)
print("rea" + "dy", flush=True)
time.sleep(1000)
"""

    def test_what_is_typed_to_the_shell_is_not_read_by_a_stopped_session(self):
        (self.project / "reader.py").write_text(self.READER.replace("\\\\n", "\\n"))
        for level in WALLS:
            (self.project / "read.txt").unlink(missing_ok=True)
            command = f"cd {self.project}; " + self.line(level, sys.executable, "reader.py", quote=False)
            _, output = self.shell([("prompt> ", command + "\n"), ("ready", "\x1a"), ("Stopped", ""), ("prompt> ", "read -r pin; echo \"<$pin>\"\n"), ("pin", "12345-secret\n"),
                                    ("<", ""), ("prompt> ", "kill -9 %1; exec true\n")])
            self.assertIn("<12345-secret>", output)
            self.assertNotIn("secret", (self.project / "read.txt").read_text())

    def test_what_is_typed_to_the_shell_is_not_read_by_a_session_in_the_background(self):
        (self.project / "reader.py").write_text(self.READER.replace("\\\\n", "\\n"))
        for level in WALLS:
            (self.project / "read.txt").unlink(missing_ok=True)
            command = f"cd {self.project}; " + self.line(level, sys.executable, "reader.py", quote=False) + " &"
            _, output = self.shell([("prompt> ", command + "\n"), ("ready", "read -r pin; echo \"<$pin>\"\n"), ("echo", "12345-secret\n"), ("<12", ""),
                                    ("prompt> ", "kill -9 %1; exec true\n")])
            self.assertIn("<12345-secret>", output)
            self.assertNotIn("secret", (self.project / "read.txt").read_text())

    GRABBER = """
import os, signal, sys, time
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
log = open("grabbed.txt", "w", 1)
for step in range(100):
    try:
        tty = os.open("/dev/tty", os.O_RDWR)
        try: os.setpgid(0, 0)
        except OSError: pass
        os.tcsetpgrp(tty, os.getpgrp())
        log.write("tried\\n")
        os.set_blocking(tty, False)
        try: log.write(repr(os.read(tty, 100)))
        except OSError: pass
        os.close(tty)
    except OSError as error:
        log.write(str(error) + "\\n")
    if os.path.exists("stop"): break
    time.sleep(0.02)
"""

    def test_redirected_streams_leave_no_way_to_the_persons_terminal(self):
        (self.project / "grabber.py").write_text(self.GRABBER.replace("\\\\n", "\\n"))
        for level in WALLS:
            for name in ("stop", "grabbed.txt"):
                (self.project / name).unlink(missing_ok=True)
            command = f"cd {self.project}; " + self.line(level, sys.executable, "grabber.py", quote=False) + " </dev/null >out 2>&1 &"
            _, output = self.shell([("prompt> ", command + "\n"), ("prompt> ", "until grep -q . grabbed.txt; do :; done 2>/dev/null; read -r pin; touch stop; echo \"<$pin>\"\n"),
                                    ("pin", "12345-secret\n"), ("<12", ""), ("prompt> ", "wait; exec true\n")])
            self.assertIn("<12345-secret>", output)
            self.assertNotIn("secret", (self.project / "grabbed.txt").read_text())

    def test_a_password_is_asked_for_where_all_streams_are_redirected(self):
        """As ssh and git do: on the terminal itself."""
        script = 'exec 3<>/dev/tty; printf "pass""word: " >&3; read a <&3; echo got-$a >&3'
        for level in WALLS:
            _, output = self.shell([("prompt> ", self.line(level, "sh", "-c", script) + " </dev/null >/dev/null 2>&1; exit 0\n"), ("password: ", "this\n"), ("got-this", "")])
            self.assertIn("got-this", output)
            # Ctrl-C and Ctrl-Z reach an agent that has no terminal among its streams.
            _, output = self.shell([("prompt> ", self.line(level, sys.executable, "-c", self.PAUSE) + " </dev/null 2>&1 >/dev/null | cat\n"), ("ready", "\x1a"), ("Stopped", ""), ("prompt> ", "fg\n"),
                                    ("cat", "\x03", another_in_front), ("prompt> ", "echo sta''tus ${PIPESTATUS[0]}; exit 0\n"), ("status", "")])
            self.assertIn("status 130", output)

    def test_the_persons_terminal_is_out_of_reach(self):
        script = ("import os\nfor p in (os.environ[\"OUTER\"], \"/dev/tty\"):\n"
                  "  try:\n    f = os.open(p, os.O_RDWR); print(p == \"/dev/tty\", os.isatty(f), os.ttyname(0) != os.environ[\"OUTER\"] or os.stat(os.environ[\"OUTER\"]).st_rdev == os.fstat(0).st_rdev)\n"
                  "  except OSError as e: print(\"denied\")")
        for level in WALLS:
            (self.project / "outer.py").write_text(script)
            _, output = self.shell([("prompt> ", f"cd {self.project}; OUTER=$(tty) " + self.line(level, sys.executable, "outer.py", quote=False) + "; exit 0\n")])
            if level == "standard":
                self.assertIn("denied\r\n", output)
            self.assertIn("True True", output)

    def test_in_a_pipeline_it_is_taken_only_when_it_is_read(self):
        for level in WALLS:
            # Nothing is read: what is typed ahead is the shell's, and the settings stay.
            _, output = self.shell([("prompt> ", self.line(level, "sh", "-c", "echo to-cat; stty -a < /dev/tty | grep -c [-]icanon") + " | cat; echo en''d; exit 0\n"), ("end", "")])
            self.assertIn("to-cat\r\n0\r\nend", output)
            # It is read: then it is taken.
            _, output = self.shell([("prompt> ", self.line(level, "sh", "-c", "read a; echo got-$a") + " | cat; exit 0\n"), ("cat", "this\n"), ("got-this", "")])
            self.assertIn("got-this", output)
            # Ctrl-C reaches all of it.
            _, output = self.shell([("prompt> ", self.line(level, sys.executable, "-c", self.PAUSE) + " | cat\n"), ("ready", "\x03"),
                                    ("prompt> ", "echo sta''tus ${PIPESTATUS[0]}; exit 0\n"), ("status", "")])
            self.assertIn("status 130", output)

    def test_in_the_background_it_shows_its_words_and_is_stopped_when_it_reads(self):
        for level in WALLS:
            _, output = self.shell([("prompt> ", self.line(level, "sh", "-c", "echo wor\"\"ds; read a; echo got-$a") + " &\n"), ("words", "\n"), ("prompt> ", "until jobs | grep -q Sto''pped; do :; done; jobs\n"),
                                    ("Stopped", ""), ("prompt> ", "fg\n"), ("sh", "this\n"), ("got-this", ""), ("prompt> ", "exit 0\n")])
            self.assertIn("got-this", output)

    def test_line_ends_are_made_once(self):
        for level in WALLS:
            for tail in ("", " | cat", " &"):
                _, output = self.shell([("prompt> ", self.line(level, "sh", "-c", "printf \"one\\ntwo\\n\" >&2") + tail + "\n"), ("two", ""), ("prompt> " if not tail.startswith(" &") else "", "wait; exit 0\n")])
                self.assertNotIn("\r\r\n", output)
                self.assertRegex(output, r"one\r\ntwo\r\n")

    unread = {}

    def start(self, argv, size=(24, 80)):
        pid, master = pty.fork()
        if pid == 0:
            os.chdir(self.project)
            os.execvpe(str(argv[0]), list(map(str, argv)), self.v.environment)
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self.addCleanup(os.close, master)
        self.unread.pop(master, None)
        self.addCleanup(lambda: subprocess.run(["kill", "-9", str(pid)], capture_output=True))
        return pid, master

    def until(self, master, wanted):
        """What comes behind it is for the next call."""
        output = self.unread.pop(master, b"")
        while wanted not in output:
            ready, _, _ = select.select([master], [], [], LIMIT)
            self.assertTrue(ready, f"no {wanted} in {output}")
            output += os.read(master, 4096)
        self.unread[master] = output.split(wanted, 1)[1]

    def test_the_size_follows(self):
        script = "import os,signal,time\nf=lambda *_: print(os.get_terminal_size(), flush=True)\nsignal.signal(signal.SIGWINCH,f)\nprint('rea'+'dy',flush=True)\nwhile True: time.sleep(1)"
        for level in WALLS:
            _, master = self.start(self.v.argv("exec", "-q", "--isolation", level, "--", sys.executable, "-c", script))
            self.until(master, b"ready")
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
            self.until(master, b"columns=101, lines=33")

    def test_the_settings_come_back_whoever_dies(self):
        for level in WALLS:
            for how in ("end", "kill"):
                pid, master = self.start(self.v.argv("exec", "-q", "--isolation", level, "--", "sh", "-c", "echo rea''dy; read line"))
                before = termios.tcgetattr(master)
                self.until(master, b"ready")
                wait_for(lambda: not termios.tcgetattr(master)[3] & termios.ICANON, "raw")
                if how == "end":
                    os.write(master, b"\n")
                else:
                    os.kill(pid, signal.SIGKILL)
                wait_for(lambda: termios.tcgetattr(master)[:4] == before[:4], f"{level}: settings as before ({how})")
                os.waitpid(pid, 0)

    def test_a_killed_relay_ends_the_session(self):
        for level in WALLS:
            pid, master = self.start(self.v.argv("exec", "-q", "--isolation", level, "--", "sh", "-c", "echo rea''dy; read line; sleep 1000"))
            self.until(master, b"ready")
            children = lambda: [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
            relays = [child for child in children() if os.getsid(child) == os.getsid(pid)]
            self.assertEqual(len(relays), 1)
            os.kill(relays[0], signal.SIGKILL)
            _, status = wait_for(lambda: (ended := os.waitpid(pid, os.WNOHANG))[0] and ended, "the end")
            self.assertEqual(os.waitstatus_to_exitcode(status), 128 + signal.SIGHUP)

    def test_exec_alone_is_stopped_and_brought_back(self):
        """By somebody else; the shell has the terminal meanwhile."""
        for level in WALLS:
            self.v.environment["PS1"] = "prompt> "
            pid, master = self.start(["bash", "--norc", "-i"])
            self.until(master, b"prompt> ")
            os.write(master, (self.line(level, "sh", "-c", "echo rea\"\"dy; read a; echo got-$a") + "\n").encode())
            self.until(master, b"ready")
            (program,) = [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
            os.kill(program, signal.SIGSTOP)
            self.until(master, b"Stopped")
            self.until(master, b"prompt> ")
            os.write(master, b"fg\n")
            self.until(master, b"agentvault exec")
            wait_for(lambda: not termios.tcgetattr(master)[3] & termios.ICANON, "raw again")
            os.write(master, b"this\n")
            self.until(master, b"got-this")

    def test_everything_is_shown_before_it_ends(self):
        for level in WALLS:
            code, output = run_on_terminal(self.v.argv("exec", "-q", "--isolation", level, "--", "sh", "-c", "seq 200000; echo la''st"), self.v.environment, [])
            self.assertEqual(code, 0)
            self.assertIn("199999\r\n200000\r\nlast", output)

    def test_a_sub_agent_has_it_too(self):
        for level in WALLS:
            code, output = run_on_terminal(self.v.argv("exec", "-q", "--isolation", level, "--share", self.v.argv()[0], "--", self.v.argv()[0], "exec", "-q", "--", "sh", "-c", "tty; read a; echo got-$a"),
                                           self.v.environment, [("/dev/pts", "this\n")])
            self.assertIn("got-this", output)

    def test_without_a_terminal_there_is_none(self):
        for level in WALLS:
            self.assertIn("not a tty", self.inside(level, "tty; : < /dev/tty").out)


if __name__ == "__main__":
    main()
