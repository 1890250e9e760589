"""exec inside exec: a sub-agent has less, cannot see its parent's tokens, and each link can be revoked alone."""
import base64
import json
import re
import subprocess
import sys
import urllib.parse

from harness import LIMIT, PROGRAM, ROOT, WITHIN, SystemTest, main, wait_for

sys.path.insert(0, str(ROOT / "tests/unit"))
from make_token_vectors import cbor, mac, text  # noqa: E402

CHILD = "import os,json;print(json.dumps(dict(os.environ)))"


def decoded(data, at=0):
    """One CBOR value of the kinds that a token has, and where it ends."""
    major, size, at = data[at] >> 5, data[at] & 31, at + 1
    if size > 23:
        extra = 1 << (size - 24)
        size, at = int.from_bytes(data[at:at + extra]), at + extra
    if major == 0:
        return size, at
    if major == 4:
        items = []
        for _ in range(size):
            item, at = decoded(data, at)
            items.append(item)
        return items, at
    return data[at:at + size] if major == 2 else data[at:at + size].decode(), at + size


def token_with(token, *caveats):
    """Attenuated by hand, as anybody can who has read schemas/token.md."""
    body = token.removeprefix("agv_")
    *rest, had, tag = decoded(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))[0]
    for caveat in caveats:
        tag = mac(tag, cbor(caveat))
    return text(cbor([*rest, [*had, *caveats], tag]))


class NestedTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.u = self.upstream()
        self.v = self.vault()
        for name in ("api", "other"):
            self.ok(self.v.add(name, "--url", self.u.url, "--ca-file", self.certificate.pem, "--env", name.upper() + "_KEY"))

    def inside(self, environment, *words):
        """exec as an agent of the session calls it."""
        return subprocess.run([PROGRAM, "exec", *words], env=environment, capture_output=True, text=True, timeout=LIMIT)

    def environment_of(self, environment, *options):
        done = self.inside(environment, *options, "--", sys.executable, "-c", CHILD)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout), done.stderr

    def test_a_sub_agent_has_what_it_is_given(self):
        s = self.session(self.v)
        inner, line = self.environment_of(s.environment, "--with", "api", "--agent", "scout")
        self.assertIn("agent scout | credentials api", line)
        self.assertNotIn("OTHER_KEY", inner)
        self.assertNotIn(s.environment["API_KEY"], str(inner))
        self.assertNotIn(s.token, str(inner))
        self.assertEqual(s.request("GET", "/api/x", token=inner["API_KEY"])[0], 200)
        self.assertEqual(s.request("GET", "/api/x", token=inner["AGENTVAULT_TOKEN"])[0], 200)
        self.assert_error(s.request("GET", "/other/x", token=inner["AGENTVAULT_TOKEN"]), 401, "token_other_credential")
        decided = [e for e in self.v.events() if e["event"] == "decided" and "scout" in e["chain"]]
        self.assertEqual(len(decided), 3)
        # The proxy's token is narrowed as well, and still opens tunnels.
        before = s.environment
        s.environment = inner
        status, connection = s.tunnel(f"localhost:{self.u.port}")
        connection.close()
        s.environment = before
        self.assertEqual(status, 200)

    def test_each_link_is_revoked_alone_and_takes_those_behind_it_along(self):
        s = self.session(self.v)
        a, line_a = self.environment_of(s.environment, "--agent", "a")
        b, line_b = self.environment_of(a, "--agent", "b", "--with", "api")
        c, _ = self.environment_of(b, "--agent", "c")
        other, _ = self.environment_of(s.environment, "--agent", "other")
        for name, environment in (("a", a), ("b", b), ("c", c)):
            self.assertEqual(s.request("GET", "/api/" + name, token=environment["API_KEY"])[0], 200)
        chains = [e["chain"] for e in self.v.events() if e["event"] == "decided"]
        self.assertEqual([part for part in chains[-1] if len(part) < 10], ["a", "b", "c"])
        self.ok(self.v.run("revoke", "--token", line_b.split()[2]))
        self.assertEqual(s.request("GET", "/api/x", token=a["API_KEY"])[0], 200)
        for environment in (b, c):
            self.assert_error(s.request("GET", "/api/x", token=environment["API_KEY"]), 401, "token_revoked")
        self.ok(self.v.run("revoke", "--token", line_a.split()[2]))
        self.assert_error(s.request("GET", "/api/x", token=a["API_KEY"]), 401, "token_revoked")
        self.assertEqual(s.request("GET", "/api/x", token=other["API_KEY"])[0], 200)

    def test_a_budget_draws_from_the_parents(self):
        s = self.session(self.v)
        a, _ = self.environment_of(s.environment, "--budget", "5")
        b, _ = self.environment_of(a, "--budget", "3")
        wide, _ = self.environment_of(a, "--budget", "100")
        spend = lambda environment, name="API_KEY": s.request("GET", "/api/x" if name == "API_KEY" else "/other/x", token=environment[name])
        self.assertEqual([spend(b)[0], spend(b, "OTHER_KEY")[0], spend(b)[0]], [200] * 3)
        self.assert_error(spend(b), 403, "token_budget")
        self.assertEqual([spend(wide)[0], spend(a)[0]], [200] * 2)
        for environment in (a, b, wide):
            self.assert_error(spend(environment), 403, "token_budget")
        self.assertEqual(spend(s.environment)[0], 200)

    def test_depth_and_time(self):
        s = self.session(self.v)
        narrow = lambda token, *options: subprocess.run([PROGRAM, "token", "attenuate", token, *options], capture_output=True, text=True, check=True).stdout.strip()
        token = narrow(s.environment["API_KEY"], "--depth", "1")
        self.assertEqual(s.request("GET", "/api/x", token=token)[0], 200)
        once = narrow(token)
        self.assertEqual(s.request("GET", "/api/x", token=once)[0], 200)
        self.assert_error(s.request("GET", "/api/x", token=narrow(once)), 403, "token_depth")
        inner, _ = self.environment_of(s.environment, "--max-lifetime", "1s")
        wait_for(lambda: s.request("GET", "/api/x", token=inner["API_KEY"])[0] == 401, "the end of a second")

    def test_usage(self):
        s = self.session(self.v)
        for options in (["--isolation", "off"], ["--egress", "open"], ["--write", "/tmp"]):
            done = self.inside(s.environment, *options, "--", "true")
            self.assertEqual((done.returncode, "of the session that this runs in" in done.stderr), (2, True), done.stderr)
        done = self.inside(s.environment, "--with", "nobody", "--", "true")
        self.assertEqual((done.returncode, "no token for nobody" in done.stderr), (3, True), done.stderr)
        self.assertEqual(self.inside(s.environment, "-q", "--", "sh", "-c", "exit 7").returncode, 7)
        self.assertEqual(self.inside(s.environment, "-q", "--", "/no/such/program").returncode, 127)
        self.refused(self.v.run("exec", "--budget", "3", "--", "true"), 2, "--budget is for an exec inside a session", "policy")
        self.assertEqual(self.inside(s.environment, "-q", "--with", "api,other", "--", "true").returncode, 0)

    def test_numbers_are_whole_ones(self):
        s = self.session(self.v)
        for option in ("--budget", "--depth"):
            for bad in ("-1", "99999999999999999999", "1.5", "x", ""):
                self.refused(self.v.run("token", "attenuate", option, bad, env={"AGENTVAULT_TOKEN": s.token}), 2, "whole number")
        self.assertIn("whole number", self.inside(s.environment, "--budget", "-1", "--", "true").stderr)

    def test_what_the_agents_budget_refuses_costs_a_token_nothing(self):
        policy = self.folder / "policy.toml"
        policy.write_text("version = 1\n[agents.default.budget]\nrequests_per_day = 2\n")
        self.ok(self.v.run("policy", "apply", policy))
        s = self.session(self.v)
        a, _ = self.environment_of(s.environment, "--budget", "4")
        spend = lambda: s.request("GET", "/api/x", token=a["API_KEY"])[0]
        self.assertEqual([spend() for _ in range(6)], [200, 200, 429, 429, 429, 429])
        policy.write_text("version = 1\n[agents.default.budget]\nrequests_per_day = 9\n")
        self.ok(self.v.run("policy", "apply", policy))
        self.assertEqual([spend() for _ in range(3)], [200, 200, 403])

    def test_nobody_spends_the_budget_of_a_sibling(self):
        s = self.session(self.v)
        b, line = self.environment_of(s.environment, "--budget", "2")
        c, _ = self.environment_of(s.environment)
        forged = token_with(c["API_KEY"], [5, bytes.fromhex(line.split()[2])], [7, 1000])
        self.assertEqual([s.request("GET", "/api/x", token=forged)[0] for _ in range(3)], [200] * 3)
        self.assertEqual([s.request("GET", "/api/x", token=b["API_KEY"])[0] for _ in range(3)], [200, 200, 403])

    def test_git_keeps_its_configuration_with_a_narrower_token(self):
        s = self.session(self.v)
        pair = "x-access-token:" + s.environment["API_KEY"]
        value = "Authorization: Basic " + base64.b64encode(pair.encode()).decode()
        outer = {**s.environment, "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "http.https://x/.extraHeader", "GIT_CONFIG_VALUE_0": value}
        inner, _ = self.environment_of(outer, "--with", "api")
        user, _, token = base64.b64decode(inner["GIT_CONFIG_VALUE_0"].split()[-1]).decode().partition(":")
        self.assertEqual(user, "x-access-token")
        self.assertNotEqual(token, s.environment["API_KEY"])
        self.assertEqual(s.request("GET", "/api/x", token=token)[0], 200)
        self.assertEqual(self.environment_of(outer, "--with", "other")[0]["GIT_CONFIG_VALUE_0"], "")


    def test_no_spelling_of_a_wider_token_is_handed_on(self):
        s = self.session(self.v)
        key = s.environment["API_KEY"]
        encode = lambda text: base64.b64encode(text.encode()).decode()
        spellings = {
            "PLAIN": key,
            "BASIC": "Basic " + encode("x:" + key),
            "BARE": encode("x:" + key),
            "QUOTED": "{\"auth\":\"" + encode(key) + "\"}",
            "URLSAFE": base64.urlsafe_b64encode(("???" + key).encode()).decode(),
            "PERCENT": "".join(f"%{byte:02x}" for byte in key.encode()),
            "TWICE": key + ":" + encode(key),
        }
        inner, _ = self.environment_of({**s.environment, **spellings}, "--budget", "1")
        for name in spellings:
            with self.subTest(name):
                value = urllib.parse.unquote(inner.get(name, ""))
                self.assertNotIn(key, value)
                for run in re.findall(r"[A-Za-z0-9+/_-]+", value):
                    for skip in range(4):
                        part = run[skip:].translate(str.maketrans("-_", "+/"))
                        part = part[:len(part) // 4 * 4]
                        self.assertNotIn(key[:-4].encode(), base64.b64decode(part))
        self.assertNotEqual(inner["PLAIN"], key)


class WallTest(SystemTest):
    """At every level, as the agent itself: the sub-agent looks for its parent's tokens."""

    SUB = """
import os, sys
parent = int(sys.argv[1])
for what in ("environ", "mem", "maps", "fd/0", "cwd"):
    try:
        path = f"/proc/{parent}/{what}"
        data = os.readlink(path) if what in ("fd/0", "cwd") else open(path, "rb").read(10)
        print("READ", what, len(data))
    except OSError as error:
        print("kept", what)
try:
    os.kill(parent, 0)
    print("signal")
except OSError:
    print("kept signal")
import re, socket
print("descriptors", sorted(os.listdir("/proc/self/fd"))[3:])
try:
    socket.create_connection(("127.0.0.1", int(re.search("proxyPort=([0-9]+)", os.environ["JAVA_TOOL_OPTIONS"]).group(1))), 20)
    print("a way without a token")
except PermissionError:
    print("kept token")
print(os.environ["AGENTVAULT_TOKEN"])
"""
    OUTER = f"""
import os, subprocess, sys
print(os.environ["AGENTVAULT_TOKEN"])
import re, socket
socket_of_mine = socket.create_connection(("127.0.0.1", int(re.search("proxyPort=([0-9]+)", os.environ["JAVA_TOOL_OPTIONS"]).group(1))), 20)
sub = subprocess.run([{PROGRAM!r}, "exec", "-q", "--", sys.executable, "-c", sys.argv[1], str(os.getpid())], capture_output=True, text=True, pass_fds=[socket_of_mine.fileno()])
refused = subprocess.run([*{WITHIN!r}, "exec", "-q", "--", "true"], stdin=socket_of_mine, capture_output=True, text=True)
print("as stdin", refused.returncode, refused.stderr)
print(sub.stdout, sub.stderr, sub.returncode)
open("still", "w").write("x")
os.rename("still", "moved")
"""

    def test_the_parents_tokens_are_out_of_reach(self):
        vault = self.vault()
        for level in ("strict", "standard", "off"):
            with self.subTest(level):
                folder = self.folder / ("work-" + level)
                folder.mkdir()
                done = subprocess.run([PROGRAM, "exec", "-q", "--isolation", level, "--share", str(PROGRAM), "--", sys.executable, "-c", self.OUTER, self.SUB],
                                      env=vault.environment, cwd=folder, capture_output=True, text=True, timeout=LIMIT)
                self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
                lines = done.stdout.split("\n")
                self.assertNotIn("READ", done.stdout)
                for what in ("environ", "mem", "maps", "signal"):
                    self.assertIn("kept " + what, lines, done.stdout)
                self.assertIn("descriptors ['3']", lines, done.stdout)  # its own look
                self.assertIn("as stdin 2 agentvault: error: a standard stream is a socket", lines, done.stdout)
                self.assertIn("a way without a token" if level == "off" else "kept token", lines, done.stdout)
                tokens = [line for line in lines if line.strip().startswith("agv_")]
                self.assertEqual(len(set(t.strip() for t in tokens)), 2, done.stdout)
                self.assertTrue((folder / "moved").exists())

    LOOKING = """
import os
seen = 0
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        seen += b"mark" + b"-of-the-parent" in open(f"/proc/{pid}/cmdline", "rb").read()
    except OSError:
        pass
print("seen", seen, "own", os.path.exists(f"/proc/{os.getpid()}/cmdline"))
"""

    def test_command_lines_of_the_parent_are_not_seen_at_strict(self):
        """At standard /proc is the machine's, which SECURITY.md says."""
        vault = self.vault()
        outer = f"""
import os, subprocess, sys
worker = subprocess.Popen(
    [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()", "mark" + "-of-the-parent"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
worker.stdout.readline()
print("parent", subprocess.run([sys.executable, "-c", sys.argv[1]], capture_output=True, text=True).stdout)
print("sub", subprocess.run([{PROGRAM!r}, "exec", "-q", "--", sys.executable, "-c", sys.argv[1]], capture_output=True, text=True).stdout)
"""
        folder = self.folder / "work"
        folder.mkdir()
        for level, seen in (("strict", 0), ("standard", 1)):
            done = subprocess.run([PROGRAM, "exec", "-q", "--isolation", level, "--share", str(PROGRAM), "--", sys.executable, "-c", outer, self.LOOKING],
                                  env=vault.environment, cwd=folder, capture_output=True, text=True, timeout=LIMIT)
            self.assertIn("parent seen 1 own True", done.stdout, done.stderr)
            self.assertIn(f"sub seen {seen} own True", done.stdout, done.stderr)


if __name__ == "__main__":
    main()
