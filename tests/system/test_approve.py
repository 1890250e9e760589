"""Rules that ask: the request waits, a person answers, and what was approved is what goes out."""
import json
import os
import subprocess
import sys

from harness import LIMIT, PROGRAM, SystemTest, main, run_on_terminal, wait_for

POLICY = """
version = 1
[agents.default]
approval_timeout = "TIMEOUT"
[[agents.default.rules]]
effect = "allow"
[[agents.default.rules]]
effect  = "approve"
methods = ["POST"]
paths   = ["/pay/**"]
"""

# Asks for each word: METHOD PATH [BODY]; prints status and error code.
AGENT = """
import http.client, json, os, sys, threading, urllib.parse
url = urllib.parse.urlsplit(os.environ["AGENTVAULT_URL"])
def ask(line):
    method, path, *body = line.split(" ", 2)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=50)
    fields = {"Authorization": "Bearer " + os.environ["AGENTVAULT_TOKEN"]}
    if method == "WEBSOCKET":
        method, fields = "GET", {**fields, "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    connection.request(method, "/api" + path, body[0] if body else None, fields)
    answer = connection.getresponse()
    text = answer.read().decode()
    code = json.loads(text)["error"]["code"] if answer.status >= 400 else ""
    print(line, "->", answer.status, code, flush=True)
for line in sys.stdin:
    threading.Thread(target=ask, args=[line.strip()]).start()
"""


class ApproveTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.u = self.upstream()
        self.v = self.vault()
        self.ok(self.v.add("api", "--url", self.u.url, "--ca-file", self.certificate.pem))
        self.work = self.folder / "work"
        self.work.mkdir()
        self.apply(POLICY.replace("TIMEOUT", "5m"))

    def apply(self, text):
        file = self.folder / "policy.toml"
        file.write_text(text)
        self.ok(self.v.run("policy", "apply", file))

    def agent(self, level="strict", env=None):
        process = subprocess.Popen([PROGRAM, "exec", "-q", "--isolation", level, "--", sys.executable, "-c", AGENT], cwd=self.work,
                                   env={**self.v.environment, **(env or {})}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        def stop():
            process.stdin.close()
            process.wait(LIMIT)
            process.stdout.close()
        self.addCleanup(stop)
        return process

    def asked(self, count=1):
        def look():
            found = json.loads(self.v.run("--json", "approve").out)
            return found if len(found) == count else None
        return wait_for(look, f"{count} questions")

    def say(self, agent, line):
        agent.stdin.write(line + "\n")

    def test_it_waits_and_goes_out_as_it_was_shown(self):
        for level in ("strict", "standard"):
            agent = self.agent(level)
            self.say(agent, "GET /pay/list")
            self.assertEqual(agent.stdout.readline(), "GET /pay/list -> 200 \n")
            self.say(agent, "POST /pay/bob?x=1 amount=5")
            question = self.asked()[0]
            self.assertEqual(question["request"], f"POST {self.u.url}/pay/bob?x=1")
            self.assertEqual((question["credential"], question["body"], question["body size"]), ("api", "amount=5", 8))
            self.assertEqual(question["rule"], "policy line 7 (approve)")
            self.assertNotIn("/pay/bob?x=1", [r["path"] for r in self.u.requests])
            self.ok(self.v.run("approve", question["id"]))
            self.assertEqual(agent.stdout.readline(), "POST /pay/bob?x=1 amount=5 -> 200 \n")
            self.assertEqual((self.u.requests[-1]["path"], self.u.requests[-1]["body"]), ("/pay/bob?x=1", b"amount=5"))
            self.u.requests.clear()
            # Once: the same again is asked again.
            self.say(agent, "POST /pay/bob?x=1 amount=5")
            self.ok(self.v.run("deny", self.asked()[0]["id"]))
            self.assertEqual(agent.stdout.readline(), "POST /pay/bob?x=1 amount=5 -> 403 approval_denied\n")
            self.assertEqual(self.u.requests, [])
        decisions = [(e["decision"], e["reason"]) for e in self.v.events() if e["event"] == "decided" and e["method"] == "POST"]
        self.assertEqual(decisions.count(("ask", "policy line 7 (approve)")), 4)
        self.assertEqual(decisions.count(("allow", "policy line 7 (approve), approved")), 2)
        self.assertEqual(decisions.count(("deny", "approval_denied")), 2)

    def test_a_websocket_is_shown_as_one(self):
        self.apply('version = 1\n[[agents.default.rules]]\neffect = "approve"\nmethods = ["GET"]\n')
        agent = self.agent()
        self.say(agent, "WEBSOCKET /ws")
        question = self.asked()[0]
        self.assertIn("Upgrade: websocket", question["headers"])
        self.ok(self.v.run("deny", question["id"]))
        self.say(agent, "GET /ws")
        self.assertNotIn("Upgrade: websocket", self.asked()[0]["headers"])
        self.ok(self.v.run("deny", self.asked()[0]["id"]))

    def test_for_the_session_and_for_a_time(self):
        agent = self.agent()
        self.say(agent, "POST /pay/bob 1")
        self.ok(self.v.run("approve", self.asked()[0]["id"], "--session"))
        self.assertIn("200", agent.stdout.readline())
        self.say(agent, "POST /pay/bob 2")
        self.assertIn("200", agent.stdout.readline())
        self.say(agent, "POST /pay/eve 3")
        self.ok(self.v.run("approve", self.asked()[0]["id"], "--for", "1s"))
        self.assertIn("200", agent.stdout.readline())
        def again():
            before = len(self.u.requests)
            self.say(agent, "POST /pay/eve 4")
            wait_for(lambda: len(self.u.requests) > before or json.loads(self.v.run("--json", "approve").out), "what becomes of it")
            return json.loads(self.v.run("--json", "approve").out)
        question = wait_for(again, "the end of a second")[0]
        self.ok(self.v.run("deny", question["id"]))

    def test_a_standing_approval_is_for_one_rule_and_one_policy(self):
        agent = self.agent()
        self.say(agent, "POST /pay/bob 1")
        self.ok(self.v.run("approve", self.asked()[0]["id"], "--session"))
        self.assertIn("200", agent.stdout.readline())
        self.apply(POLICY.replace("TIMEOUT", "6m"))
        self.say(agent, "POST /pay/bob 2")
        self.ok(self.v.run("deny", self.asked()[0]["id"]))
        self.assertIn("403 approval_denied", agent.stdout.readline())
        # What was asked under another policy is approved for once.
        self.say(agent, "POST /pay/bob 3")
        question = self.asked()[0]["id"]
        self.apply(POLICY.replace("TIMEOUT", "7m"))
        self.ok(self.v.run("approve", question, "--session"))
        self.assertIn("200", agent.stdout.readline())
        self.say(agent, "POST /pay/bob 4")
        self.ok(self.v.run("deny", self.asked()[0]["id"]))
        self.assertIn("403 approval_denied", agent.stdout.readline())
        rule = '[[agents.default.rules]]\neffect  = "approve"'
        self.apply(POLICY.replace("TIMEOUT", "5m").replace(rule, rule + "\nquery = { amount = { min = 1000 } }\n" + rule))
        self.say(agent, "POST /pay/bob?amount=1")
        self.ok(self.v.run("approve", self.asked()[0]["id"], "--session"))
        self.assertIn("200", agent.stdout.readline())
        self.say(agent, "POST /pay/bob?amount=5000")
        self.ok(self.v.run("deny", self.asked()[0]["id"]))
        self.assertIn("403 approval_denied", agent.stdout.readline())

    def test_all_of_it_is_shown(self):
        agent = self.agent()
        body = "x" * 3000 + "amount=1000000"
        self.say(agent, "POST /pay/x?" + "y" * 6000 + "END " + body)
        question = self.asked()[0]
        text = self.ok(self.v.run("approve")).out
        self.assertIn("yEND", text)
        self.assertIn("Accept-Encoding: identity", text)
        self.assertNotIn("agv_", text)
        self.assertNotIn("amount", text)
        self.assertEqual(self.ok(self.v.run("approve", "--body", question["id"])).out, body)
        code, shown = run_on_terminal(self.v.argv("approve", "--body", question["id"]), self.v.environment, [])
        self.assertEqual((code, shown.strip()), (0, body))
        self.refused(self.v.run("approve", "--body", "00000000"), 3, "nothing with the id")
        self.refused(self.v.run("approve", "--body"), 2, "approve what?")
        self.refused(self.v.run("approve", "--body", "x", "--session"), 2, "--body only shows")
        self.ok(self.v.run("deny", question["id"]))
        self.assertIn("403", agent.stdout.readline())
        self.say(agent, "POST /pay/x?" + "y" * 9000)
        self.assertIn("403 approval_impossible", agent.stdout.readline())

    def test_many_long_ones_are_all_shown(self):
        agent = self.agent()
        for number in range(64):
            self.say(agent, f"POST /pay/{number}?" + "y" * 7000 + " " + "z" * 2000)
        for question in self.asked(64):
            self.ok(self.v.run("deny", question["id"]))
            self.assertIn("403 approval_denied", agent.stdout.readline())

    def test_what_is_new_is_asked_once_and_by_method(self):
        self.apply('version = 1\n[[agents.default.rules]]\neffect = "allow"\napprove_when = { first = ["path"] }\n')
        agent = self.agent()
        self.say(agent, "GET /pay/1")
        self.ok(self.v.run("approve", self.asked()[0]["id"]))
        self.assertIn("200", agent.stdout.readline())
        self.say(agent, "GET /pay/1")
        self.assertIn("200", agent.stdout.readline())
        self.say(agent, "DELETE /pay/1")
        self.ok(self.v.run("deny", self.asked()[0]["id"]))
        self.assertIn("403", agent.stdout.readline())

    def test_a_stream_that_a_rule_asks_about_by_now_is_cut(self):
        release = self.folder / "release"
        def stream(handler, body):
            handler.start_chunked([])
            handler.chunk(b"hello")
            wait_for(release.exists, "the release")
            handler.wfile.write(b"0\r\n\r\n")
        for path in ("/a/stream", "/pay/stream"):
            self.u.routes[path] = stream
        agent = self.agent()
        self.say(agent, "GET /a/stream")
        wait_for(lambda: self.u.requests, "the stream")
        self.say(agent, "POST /pay/stream")
        self.ok(self.v.run("approve", self.asked()[0]["id"]))
        wait_for(lambda: len(self.u.requests) == 2, "the other one")
        self.apply(POLICY.replace("TIMEOUT", "5m").replace('effect = "allow"', 'effect = "approve"'))
        ended = lambda: [e["ended"] for e in self.v.events() if e["event"] == "settled"]
        self.assertEqual(wait_for(ended, "the cut"), ["approval_needed"])
        release.touch()
        wait_for(lambda: len(ended()) == 2, "the approved one's end")
        self.assertEqual(ended(), ["approval_needed", "complete"])

    def test_without_a_credential_a_body_is_asked_about_too(self):
        site = self.upstream(tls=False, name="localhost")
        self.apply(POLICY.replace("TIMEOUT", "5m").replace("approval_timeout", f'egress = ["127.0.0.1:{site.port}"]\napproval_timeout'))
        script = f"import urllib.request\nprint(urllib.request.urlopen('http://127.0.0.1:{site.port}/pay/x', data=b'abc').status)"
        process = subprocess.Popen([PROGRAM, "exec", "-q", "--isolation", "strict", "--", "env", "-u", "no_proxy", "-u", "NO_PROXY", sys.executable, "-c", script],
                                   cwd=self.work, env=self.v.environment, stdout=subprocess.PIPE, text=True)
        question = self.asked()[0]
        self.assertEqual((question["body"], question["credential"]), ("abc", ""))
        self.ok(self.v.run("approve", question["id"]))
        self.assertEqual(process.communicate(timeout=LIMIT)[0], "200\n")
        self.assertEqual(site.requests[-1]["body"], b"abc")

    def test_nobody_answers(self):
        self.apply(POLICY.replace("TIMEOUT", "1s"))
        agent = self.agent()
        self.say(agent, "POST /pay/x")
        self.assertEqual(agent.stdout.readline(), "POST /pay/x -> 403 approval_timeout\n")
        self.refused(self.v.run("approve", "00000000"), 3, "nothing with the id 00000000 waits", "agentvault approve")
        self.assertNotIn("\x1b", self.refused(self.v.run("deny", "x\x1b[31m"), 3, "waits for approval").err)
        self.assertEqual(self.u.requests, [])

    def test_at_off_nobody_is_asked(self):
        agent = self.agent("off")
        self.say(agent, "POST /pay/x")
        self.assertEqual(agent.stdout.readline(), "POST /pay/x -> 403 approval_impossible\n")

    def test_a_policy_that_denies_answers_what_waits_and_a_revocation_ends_it(self):
        agent = self.agent()
        self.say(agent, "POST /pay/x")
        self.asked()
        self.apply(POLICY.replace("TIMEOUT", "5m").replace('"approve"', '"deny"'))
        self.assertEqual(agent.stdout.readline(), "POST /pay/x -> 403 policy_denied\n")
        self.apply(POLICY.replace("TIMEOUT", "5m"))
        self.say(agent, "POST /pay/y")
        self.asked()
        self.ok(self.v.run("revoke", "--all"))
        self.assertEqual(agent.stdout.readline(), "POST /pay/y -> 401 session_revoked\n")
        self.assertEqual(self.u.requests, [])

    def test_what_an_agent_chose_is_escaped(self):
        agent = self.agent()
        self.say(agent, "POST /pay/x?a=%1B%5B31m body\x1b[2Jtext")
        question = self.asked()[0]
        text = self.ok(self.v.run("approve")).out
        self.assertNotIn("\x1b", text)
        self.assertIn("POST " + self.u.url, text)
        self.assertIn("x1b[2Jtext", text)
        self.ok(self.v.run("deny", question["id"]))
        self.assertIn("403", agent.stdout.readline())

    def test_only_so_many_wait(self):
        agent = self.agent()
        for number in range(65):
            self.say(agent, f"POST /pay/{number}")
        self.assertIn("503 too_many_questions", agent.stdout.readline())
        for question in self.asked(64):
            self.ok(self.v.run("deny", question["id"]))
        self.assertEqual({agent.stdout.readline().split("-> ")[1] for _ in range(64)}, {"403 approval_denied\n"})

    def test_an_agent_cannot_answer(self):
        script = f"""
import subprocess, sys
for words in (["approve"], ["approve", "00000000"], ["deny", "00000000"]):
    done = subprocess.run([{PROGRAM!r}, "--vault", {str(self.v.path)!r}, *words], capture_output=True, text=True)
    print(done.returncode, done.stdout)
"""
        for level in ("strict", "standard"):
            done = subprocess.run([PROGRAM, "exec", "-q", "--isolation", level, "--share", PROGRAM, "--", sys.executable, "-c", script], cwd=self.work,
                                  env=self.v.environment, capture_output=True, text=True, timeout=LIMIT)
            self.assertEqual(done.returncode, 0, done.stderr)
            listed, *answered = [line.split(" ", 1) for line in done.stdout.splitlines() if line]
            self.assertEqual(listed[1:], [""], "it sees what waits")
            self.assertNotIn("0", [code for code, _ in answered], done.stdout)

    def test_a_desktop_is_told_how_many_wait(self):
        told = self.folder / "told"
        bin_folder = self.folder / "bin"
        bin_folder.mkdir()
        (bin_folder / "notify-send").write_text(f'#!/bin/sh\necho "$@" >> {told}\n')
        (bin_folder / "notify-send").chmod(0o755)
        agent = self.agent(env={"DBUS_SESSION_BUS_ADDRESS": "unix:path=/none", "PATH": f"{bin_folder}:{os.environ['PATH']}"})
        self.say(agent, "POST /pay/secret-plan")
        question = self.asked()[0]
        wait_for(told.exists, "a notification")
        self.assertIn("1 request waits for approval", told.read_text())
        self.assertNotIn("secret-plan", told.read_text())
        self.ok(self.v.run("approve", question["id"]))
        self.assertIn("200", agent.stdout.readline())

    def test_usage(self):
        self.refused(self.v.run("approve", "--session"), 2, "approve what?")
        self.refused(self.v.run("approve", "x", "--session", "--for", "1m"), 2, "exclude each other")
        self.refused(self.v.run("approve", "x", "--for", "soon"), 2, "not a duration")
        self.assertIn("nothing waits for approval", self.ok(self.v.run("approve")).err)
        self.refused(self.v.run("--vault", self.folder / "none", "approve"), 3, "no vault")


if __name__ == "__main__":
    main()
