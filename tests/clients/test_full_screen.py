"""Real agents inside strict as a person meets them: on a full screen, for the first time, with the credential as `add`
makes it. Their screens are drawn again when the terminal changes its size, and they end as they usually do."""
import re
import shutil
import subprocess
import sys
import time
import unittest

import agents

import internet
from harness import KEY, ROOT, Certificate, main, wait_for

PROBLEM = agents.problem() or (None if shutil.which("tmux") else "no tmux")
CLAUDE, CLAUDES_LOGIN, OPENAI = "api.anthropic.com", "platform.claude.com", "api.openai.com"
# Codex wants its terminal silent for a moment before it asks for trust, gives that one second, and ends otherwise: under
# load it does so outside of agentvault, too.
CODEX_GAVE_UP = "timed out discarding buffered terminal input"
CODEX_SETTINGS = re.search(r"^```toml\n(model_provider.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)[1]


class Screen:
    """A terminal that can be looked at: tmux. It sometimes misses that a program has ended, so a shell writes it down."""

    def __init__(self, folder, environment, cwd, argv):
        self.tmux, self.environment = ["tmux", "-S", str(folder / "tmux.sock"), "-f", "/dev/null"], environment
        self.ended = folder / "status"
        self.ended.unlink(missing_ok=True)
        told = ["sh", "-c", f'"$0" "$@"; echo $? > {self.ended}', *map(str, argv)]
        self("start-server", ";", "set", "-g", "remain-on-exit", "on", ";", "new-session", "-d", "-x", "100", "-y", "40", "-c", str(cwd), *told)

    def __call__(self, *words):
        return subprocess.run([*self.tmux, *words], capture_output=True, text=True, env=self.environment, timeout=30).stdout

    def text(self):
        return self("capture-pane", "-p")

    def status(self):
        """Of the program; None while it runs."""
        return (self.ended.read_text().strip() or None) if self.ended.exists() else None

    def until(self, wanted, reactions=(), limit=90):
        """Waits for a text; meanwhile answers questions: (text, key), again when a key was missed while it drew."""
        answered, end = {}, time.monotonic() + limit
        while wanted not in (text := self.text()):
            now = time.monotonic()
            if now > end or self.status() is not None:
                raise AssertionError(f"no {wanted!r} on:\n{text}")
            for question, key in reactions:
                if question in text and now > answered.get(question, 0) + 3:
                    answered[question] = now
                    self("send-keys", key)
            time.sleep(0.1)

    def end(self, *keys):
        """Presses keys until the program ends: it may miss some while it draws."""
        for _ in range(30):
            self("send-keys", *keys)
            end = time.monotonic() + 2
            while time.monotonic() < end:
                if self.status() is not None:
                    return self.status()
                time.sleep(0.1)
        raise AssertionError("still running:\n" + self.text())

    def widest_line(self):
        return max(map(len, self.text().split("\n")))


@unittest.skipIf(PROBLEM, f"SKIPPED: no agents on a screen ({PROBLEM})")
class FullScreenTest(agents.InProject):
    def setUp(self):
        super().setUp()
        names = (CLAUDE, CLAUDES_LOGIN, OPENAI)
        self.certificate = Certificate(self.folder, ",".join("DNS:" + name for name in names))
        self.v.environment["SSL_CERT_FILE"] = str(self.certificate.pem)
        self.hosts = {name: self.upstream(address=internet.address_of(name), port=443, name=name) for name in names}

    def start(self, *words):
        argv = self.v.argv("exec", "-q", "--isolation", "strict", "--share", agents.FOLDER, "--", *words)
        self.screen = Screen(self.folder, self.v.environment, self.project, argv)
        self.addCleanup(self.screen, "kill-server")

    def check_resizing(self):
        self.screen("resize-window", "-x", "60", "-y", "30")
        wait_for(lambda: self.screen.widest_line() <= 60 and "stand-in is done" in self.screen.text(), "a narrow screen")
        self.screen("resize-window", "-x", "110", "-y", "40")
        wait_for(lambda: self.screen.widest_line() > 60, "a wide screen")

    def check_end(self, host, *keys):
        self.assertEqual(self.screen.end(*keys), "0")
        self.check_what_the_agent_did(self.hosts[host])
        self.assertNotIn(KEY, self.screen.text())
        others = [value for name, server in self.hosts.items() if name != host for r in server.requests for _, value in r["headers"]]
        self.assertFalse([value for value in others if KEY in value or "agv_" in value])

    def test_claude_code(self):
        self.hosts[CLAUDE].routes["/v1/messages"] = agents.anthropic
        self.ok(self.v.add("anthropic", "--ca-file", self.certificate.pem))
        self.start(agents.FOLDER / "node_modules/.bin/claude")
        # It asks neither for a login nor whether it may use the key.
        self.screen.until("for shortcuts", [("Choose the text style", "Enter"), ("Press Enter to continue", "Enter"), ("I trust this folder", "Enter")])
        self.screen("send-keys", "make a file")
        self.screen.until("make a file")
        self.screen("send-keys", "Enter")
        self.screen.until("stand-in is done", [("Do you want to proceed?", "Enter")])
        self.check_resizing()
        self.check_end(CLAUDE, "C-c", "C-c")

    def test_claude_code_that_is_given_a_key_asks_for_its_service(self):
        self.ok(self.v.add("anthropic", "--ca-file", self.certificate.pem))
        self.start("sh", "-c", 'ANTHROPIC_API_KEY=$ANTHROPIC_API_KEY exec "$0"', agents.FOLDER / "node_modules/.bin/claude")
        self.screen.until("Do you want to use this API key?", [("Choose the text style", "Enter")])
        self.assertIn("/api/hello", [request["path"] for request in self.hosts[CLAUDE].requests])

    def start_codex(self, tries=4):
        self.start(agents.FOLDER / "node_modules/.bin/codex", "-m", "gpt-5.1", "--sandbox", "danger-full-access", "-a", "never")
        try:
            self.screen.until("Trust this folder?")
            self.screen.until("Ask Codex to do anything", [("Trust this folder?", "Enter")])
        except AssertionError:
            if tries == 1 or CODEX_GAVE_UP not in self.screen.text():
                raise
            self.screen("kill-server")
            self.start_codex(tries - 1)

    def test_codex(self):
        self.hosts[OPENAI].routes["/v1/responses"] = agents.openai
        self.ok(self.v.add("openai", "--ca-file", self.certificate.pem))
        (self.base / "home/.codex").mkdir()
        (self.base / "home/.codex/config.toml").write_text(CODEX_SETTINGS)
        self.start_codex()
        self.screen("send-keys", "make a file")
        self.screen.until("make a file")
        self.screen("send-keys", "Enter")
        self.screen.until("stand-in is done")
        self.check_resizing()
        self.check_end(OPENAI, "C-c")


if __name__ == "__main__":
    if PROBLEM:
        sys.exit(print(f"SKIPPED: no agents on a screen ({PROBLEM})", file=sys.stderr))
    internet.enter()
    main()
