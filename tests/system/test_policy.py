"""Policies: files, trust, what sessions are held to, and that running ones are told."""
import base64
import json
import os
import signal
import sqlite3
import re
import subprocess
import tomllib

from harness import LIMIT, ROOT, SystemTest, main, wait_for
from json_schema import check

ALLOW_A = """
version = 1
[agents.default]
egress = "brokered"
[[agents.default.rules]]
effect  = "allow"
methods = ["GET"]
paths   = ["/a/**"]
"""
ALLOW_B = ALLOW_A.replace("/a/**", "/b/**")


class PolicyTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.u = self.upstream()
        self.v = self.vault()
        self.ok(self.v.add("api", "--url", self.u.url, "--ca-file", self.certificate.pem))
        self.project = self.folder / "project"
        self.project.mkdir()

    def write(self, text, folder=None):
        file = (folder or self.project) / "agentvault.toml"
        file.write_text(text)
        return file

    def in_project(self, *words, folder=None, **options):
        return self.v.run(*words, cwd=folder or self.project, **options)

    def trust(self, text, *options, folder=None):
        self.write(text, folder)
        return self.ok(self.in_project("policy", "trust", *options, folder=folder))

    def session_in(self, folder, *options):
        before = os.getcwd()
        os.chdir(folder)
        try:
            return self.session(self.v, *options)
        finally:
            os.chdir(before)

    def assert_allowed(self, session, path, method="GET", **options):
        self.assertEqual(session.request(method, "/api" + path, **options)[0], 200, path)

    def assert_denied(self, session, path, method="GET", code="policy_denied", **options):
        self.assert_error(session.request(method, "/api" + path, **options), 403, code)


class FileTest(PolicyTest):
    def test_a_file_counts_once_it_is_trusted(self):
        self.write(ALLOW_A)
        done = self.in_project("exec", "--", "true")
        self.assertIn("agentvault.toml is not trusted for default, and does not count", done.err)
        self.assertIn("policy presets", done.err)
        s = self.session_in(self.project)
        self.assert_allowed(s, "/b/x")
        s.stop()
        done = self.trust(ALLOW_A)
        self.assertIn("counts, as it is now, for default", done.err)
        self.assertIn("older copies of this vault open no more", done.err)
        s = self.session_in(self.project)
        self.assert_allowed(s, "/a/x")
        self.assert_denied(s, "/b/x")
        self.assert_denied(s, "/a/x", method="POST")
        decided = {(e["path"], e["decision"], e["reason"]) for e in self.v.events() if e["event"] == "decided"}
        self.assertLessEqual({("/a/x", "allow", "policy line 5 (allow)"), ("/b/x", "deny", "policy_denied")}, decided)

    def test_who_edits_the_file_changes_nothing(self):
        self.trust(ALLOW_A)
        file = self.write(ALLOW_B)
        for change in (lambda: None, file.unlink, lambda: file.symlink_to("/nowhere")):
            change()
            s = self.session_in(self.project)
            self.assert_allowed(s, "/a/x")
            self.assert_denied(s, "/b/x")
            self.assertEqual(s.stop(), 0)
        self.assertIn("was changed since it was trusted", s.stderr)

    def test_it_counts_below_its_folder_and_the_nearest_trusted_one_wins(self):
        below = self.project / "deep/er"
        below.mkdir(parents=True)
        self.trust(ALLOW_A)
        s = self.session_in(below)
        self.assert_denied(s, "/b/x")
        self.write("version = 1\n[agents.default]\n", below)  # planted, untrusted: does not displace it
        s = self.session_in(below)
        self.assert_denied(s, "/b/x")
        self.trust(ALLOW_B, folder=below)
        s = self.session_in(below)
        self.assert_allowed(s, "/b/x")
        self.assert_denied(s, "/a/x")
        s = self.session_in(self.folder)
        self.assert_allowed(s, "/c")

    def test_trust_is_by_agent(self):
        self.ok(self.v.add("other", "--url", self.u.url, "--ca-file", self.certificate.pem))
        text = ALLOW_A + '\n[agents.reader]\ncredentials = ["api"]\n'
        self.write(text)
        self.refused(self.in_project("exec", "--agent", "reader", "--", "true"), 3, 'there is no agent "reader"', "policy trust")
        self.trust(text, "--agent", "reader")
        done = self.ok(self.in_project("exec", "--agent", "reader", "--", "true"))
        self.assertIn("credentials api |", done.err)
        self.assertIn("policy presets", self.in_project("exec", "--", "true").err)
        self.refused(self.in_project("policy", "trust", "--agent", "nobody"), 3, "names no agent nobody", "default, reader")
        self.refused(self.in_project("exec", "--agent", "reader", "--with", "other", "--", "true"), 4,
                     "does not grant other to the agent reader", "agentvault.toml")

    def test_it_counts_no_longer(self):
        self.trust(ALLOW_A)
        s = self.session_in(self.project)
        self.assert_denied(s, "/b/x")
        self.ok(self.in_project("policy", "trust", "--remove"))
        self.assert_allowed(s, "/b/x")
        self.refused(self.in_project("policy", "trust", "--remove"), 3, "does not count anyway", "show --all")

    def test_the_vaults_own_policy(self):
        file = self.folder / "mine.toml"
        file.write_text(ALLOW_A)
        self.ok(self.v.run("policy", "apply", file))
        s = self.session_in(self.folder)
        self.assert_denied(s, "/b/x")
        self.trust(ALLOW_B)
        s = self.session_in(self.project)
        self.assert_allowed(s, "/b/x")
        table = json.loads(self.ok(self.v.run("--json", "policy", "show", "--all")).out)
        self.assertEqual([(row["agent"], row["state"]) for row in table], [("default", "applied"), ("default", "trusted")])
        self.write(ALLOW_A)
        self.assertIn("the file was changed", self.v.run("policy", "show", "--all").out)
        self.ok(self.v.run("policy", "apply", "--remove"))
        self.refused(self.v.run("policy", "apply", "--remove"), 3, "does not count anyway", "show --all")
        s = self.session_in(self.folder)
        self.assert_allowed(s, "/b/x")

    def test_isolation_egress_and_the_rest_come_from_the_policy(self):
        outside = self.folder / "notes"
        outside.mkdir()
        self.trust(f"""
version = 1
[agents.default]
isolation = "off"
egress = ["docs.example.org"]
max_lifetime = "2h"
credentials = []
write = ["../notes"]
reach = ["5432"]
""")
        line = subprocess.run([self.v.argv()[0], "exec", "--", "true"], env=self.v.environment, cwd=self.project,
                              capture_output=True, text=True, timeout=LIMIT).stderr
        for part in ("isolation off", "egress docs.example.org,127.0.0.1:5432", "credentials none", "at most 2h"):
            self.assertIn(part, line)
        line = self.in_project("exec", "--egress", "open", "--max-lifetime", "1h", "--", "true").err
        self.assertIn("egress open", line)
        self.assertIn("at most 1h", line)
        self.trust('version = 1\n[agents.default]\nwrite = ["../notes"]\n')
        script = f"echo x > {outside}/made"
        done = self.in_project("exec", "--isolation", "auto", "--", "sh", "-c", script)
        self.assertEqual((done.code, (outside / "made").read_text()), (0, "x\n"), done)
        self.write('version = 1\n[agents.default]\nwrite = ["../nowhere"]\n')
        self.ok(self.in_project("policy", "trust"))
        self.refused(self.in_project("exec", "--isolation", "auto", "--", "true"), 2, "nowhere")

    def test_files_that_are_wrong(self):
        self.refused(self.in_project("policy", "check"), 3, "there is no agentvault.toml here or above", "man agentvault-policy")
        self.write("version = 1\n[agents.default]\nisolaton = 'off'\n")
        for command in ("check", "trust"):
            self.refused(self.in_project("policy", command), 2, "agentvault.toml:3:1: unknown key isolaton", "man agentvault-policy")
        self.write('version = 1\n"\\u001b[31m" = 1\n')
        self.assertIn("unknown key \\x1b[31m", self.refused(self.in_project("policy", "check"), 2, "").err)  # escaped, and once
        self.refused(self.v.run("policy", "check", self.folder / "gone.toml"), 3, "there is no file", "path")
        self.refused(self.v.run("policy", "check", self.project), 2, "is no regular file")
        self.refused(self.v.run("policy", "apply"), 2, "apply takes a file")
        other = self.folder / "other.toml"
        other.write_text(ALLOW_A)
        self.refused(self.v.run("policy", "trust", other), 2, "only a file called agentvault.toml", "policy apply")
        self.write("version = 1\n")
        self.refused(self.in_project("policy", "trust"), 2, "names no agent", "agents.default")
        self.write("version = 1\n#" + "x" * 300_000)
        self.refused(self.in_project("policy", "check"), 1, "")
        done = self.ok(self.v.run("policy", "check", self.write(ALLOW_A.replace("rules]]", "rules]]\ncredential = 'unknown'"))))
        self.assertIn("the vault has no credential named unknown", done.err)

    def test_a_pipe_in_its_place_makes_nobody_wait(self):
        self.trust(ALLOW_A)
        (self.project / "agentvault.toml").unlink()
        os.mkfifo(self.project / "agentvault.toml")
        self.assertIn("was changed since it was trusted", self.ok(self.in_project("exec", "--", "true")).err)
        self.refused(self.in_project("policy", "check"), 2, "is no regular file")
        self.assertIn("the file was changed", self.in_project("policy", "show", "--all").out)

    def test_explain(self):
        self.trust(ALLOW_A + '[[agents.default.rules]]\neffect = "allow"\nmethods = ["POST"]\nbody = { "/model" = ["m*"] }\n')
        body = self.folder / "body.json"
        body.write_text('{"model": "m1"}')
        def explain(*words):
            done = self.in_project("--json", "policy", "explain", *words)
            return done.code, json.loads(done.out)
        code, told = explain("GET", self.u.url + "/a/x")
        self.assertEqual((code, told["decision"], told["reason"], told["credential"]), (0, "allow", "policy line 5 (allow)", "api"))
        self.assertIn("/a/**", told["rule"])
        code, told = explain("GET", self.u.url + "/b/x")
        self.assertEqual((code, told["decision"], told["reason"]), (4, "deny", "no rule matches"))
        self.assertEqual(explain("POST", self.u.url + "/x", "--body-file", body)[0], 0)
        self.assertEqual(explain("POST", self.u.url + "/x", "--body-file", body, "--content-type", "text/plain")[0], 4)
        code, told = explain("GET", "https://elsewhere.example/")
        self.assertEqual((code, told["reason"]), (4, "egress is brokered"))
        # Of a tunnel only the host is known, and a rule may ask only at first.
        self.trust("""version = 1
[agents.default]
egress = "open"
[[agents.default.rules]]
effect = "allow"
credential = "api"
approve_when = { first = ["path"] }
[[agents.default.rules]]
effect = "deny"
methods = ["POST"]
hosts = ["a.example", "b.example"]
""")
        code, told = explain("GET", "https://a.example/")
        self.assertEqual((code, told["judged"]), (4, "CONNECT a.example:443"))
        code, told = explain("GET", "http://b.example/")
        self.assertEqual((code, told["judged"]), (0, "GET b.example/"))
        code, told = explain("GET", self.u.url + "/x")
        self.assertEqual((code, told["decision"], told["at first"]), (0, "allow", "approve"))
        self.refused(self.in_project("policy", "explain", "GET", "x"), 2, "not a URL", "https://host/path")
        code, told = explain("GET", self.u.url + "/a//x")
        self.assertEqual((code, told["decision"], told["credential"]), (4, "deny", "api"))
        self.assertIn("the broker refuses this path: ", told["reason"])
        self.refused(self.in_project("policy", "explain", "GET", self.u.url + "/", "--credential", "no"), 3, "no credential named")

    def test_explain_says_what_the_broker_would_do(self):
        self.ok(self.v.add("openai"))
        body = self.folder / "body.json"
        def explain(policy, contents, *words):
            self.trust("version = 1\n[agents.default]\n" + policy)
            body.write_text(contents)
            done = self.in_project("--json", "policy", "explain", "POST", "https://api.openai.com/v1/responses", "--body-file", body, *words)
            return done.code, json.loads(done.out)["reason"] if done.out else done.err
        call = '{"model": "gpt-5-mini", "input": "x", "max_output_tokens": 100}'
        self.assertEqual(explain("", call)[0], 0)
        self.assertEqual(explain("budget = { requests_per_day = 0 }\n", call), (4, "its budget allows no request"))
        self.assertIn("more tokens than a day has", explain("budget = { tokens_per_day = 100 }\n", call)[1])
        self.assertIn("cost more than a day has", explain("credential_budget = { openai = { usd_per_day = 0.0001 } }\n", call)[1])
        self.assertEqual(explain("budget = { tokens_per_day = 100000 }\n", call)[0], 0)
        self.assertIn("(budget_unbounded)", explain("budget = { tokens_per_day = 100000 }\n", call[:-1] + ', "novel": 1}')[1])
        self.assertIn("price of other is not known", explain("budget = { usd_per_day = 5 }\n", call.replace("gpt-5-mini", "other"))[1])
        asks = 'isolation = "off"\n[[agents.default.rules]]\neffect = "approve"\n'
        self.assertIn("at isolation off nobody can be asked", explain(asks, call)[1])
        self.trust('version = 1\n[agents.default]\nisolation = "off"\negress = ["a.example"]\n[[agents.default.rules]]\neffect = "approve"\nhosts = ["a.example"]\n')
        # Of a tunnel nobody sees the path.
        told = json.loads(self.in_project("--json", "policy", "explain", "GET", "https://a.example/a//b").out)
        self.assertEqual((told["judged"], told["reason"].split(":")[0]), ("CONNECT a.example:443", "at isolation off nobody can be asked"))
        # What the body is called is said once.
        told = explain('[[agents.default.rules]]\neffect = "allow"\nbody = { "/model" = ["*"] }\n', call, "--header", "Content-Type: application/json")
        self.assertEqual(told[0], 0)
        self.assertIn("both --header and --content-type", explain("", call, "--header", "Content-Type: a/b", "--content-type", "c/d")[1])

    def test_tests_in_the_file(self):
        rules = """version = 1
[[agents.default.rules]]
effect = "allow"
credential = "openai"
methods = ["POST"]
paths = ["/v1/**/responses", "/v1/responses"]
body = { "/model" = ["gpt-5*"], "/tools/*/type" = { values = ["function"], optional = true } }
[[agents.other.rules]]
effect = "approve"
[[tests]]
request = "POST https://api.openai.com/v1/responses"
body = '{"model": "gpt-5-mini", "tools": [{"type": "function"}]}'
expect = "allow"
[[tests]]
request = "POST https://api.openai.com/v1/responses"
body = '{"model": "gpt-5-mini", "tools": [{"type": "function"}, {"type": "web_search"}]}'
expect = "deny"
[[tests]]
agent = "other"
request = "GET https://api.openai.com/v1/models"
expect = "approve"
[[tests]]
request = "GET https://elsewhere.example/"
expect = "allow"
"""
        # With the vault's credentials, and without a vault.
        for vault in ({}, {"AGENTVAULT_HOME": str(self.folder / "nowhere")}):
            done = self.ok(self.v.run("policy", "check", self.write(rules), env=vault))
            self.assertIn("agentvault.toml is sound; its 4 tests hold\n", done.err)
        wrong = rules.replace('expect = "approve"', 'expect = "deny"') + """[[tests]]
request = "GET https://api.openai.com/v1/x"
credential = "no"
expect = "deny"
[[tests]]
agent = "nobody"
request = "GET https://api.openai.com/v1/x"
expect = "deny"
[[tests]]
request = "POST https://api.openai.com/v1/responses"
headers = { "Content-Type" = "text/plain" }
body = '{"model": "gpt-5"}'
expect = "allow"
"""
        done = self.refused(self.v.run("policy", "check", self.write(wrong)), 4, "4 of 7 tests failed", "policy explain")
        for line in ("agentvault.toml, line 18: GET https://api.openai.com/v1/models: expected deny, and it is approve (policy line 8 (approve))",
                     "line 25: there is no credential named no", "line 29: the file names no agent nobody",
                     "line 33: POST https://api.openai.com/v1/responses: expected allow, and it is deny (no rule matches)"):
            self.assertIn(line, done.err)
        # What is not forwarded is not judged.
        hop = 'version = 1\n[[agents.default.rules]]\neffect = "allow"\ncredential = "openai"\nheaders = { x-role = ["reader"] }\n[[tests]]\nrequest = "GET https://api.openai.com/v1/x"\nheaders = { X-Role = "reader"%s }\nexpect = "%s"\n'
        self.ok(self.v.run("policy", "check", self.write(hop % ("", "allow"))))
        self.ok(self.v.run("policy", "check", self.write(hop % (', Connection = "x-role"', "deny"))))
        for bad in ('request = "GET"\nexpect = "deny"', 'request = "G@T https://x/"\nexpect = "deny"', 'request = "GET https://x/"', 'request = "GET https://x/"\nexpect = "no"',
                    'request = "GET https://x/"\nexpect = "deny"\nunknown = 1', 'request = "GET https://x/"\nexpect = "deny"\nheaders = { a = 1 }'):
            self.refused(self.v.run("policy", "check", self.write("version = 1\n[[tests]]\n" + bad)), 2, "agentvault.toml:")

    def test_the_schema_knows_what_the_program_knows(self):
        schema = json.loads((ROOT / "schemas/policy.schema.json").read_text())
        agent, rule = schema["$defs"]["agent"]["properties"], schema["$defs"]["rule"]["properties"]
        source = "".join((ROOT / "libvault/policy" / name).read_text() for name in ("document.cpp", "rule_reader.cpp"))
        for key in [*schema["$defs"]["test"]["properties"], *rule["mcp"]["properties"], *rule["graphql"]["oneOf"][1]["properties"], *agent, *rule, *schema["$defs"]["budget"]["properties"], *rule["approve_when"]["properties"]]:
            self.assertTrue(f'"{key}"' in source, key)
        page = (ROOT / "man/agentvault-policy.1.scd").read_text().replace("\\", "")
        for example in re.findall(r"^version = 1\n.*?(?=^TOML$|^```$)", page + (ROOT / "README.md").read_text(), re.S | re.M):
            check(tomllib.loads(example), schema, "example")
        for key in [*agent, *rule]:
            self.assertIn(key, page)


class JudgedTest(PolicyTest):
    """What is judged is what is forwarded."""

    def test_body_fields(self):
        self.trust("""
version = 1
[[agents.default.rules]]
effect  = "allow"
methods = ["POST"]
paths   = ["/chat"]
body    = { "/model" = ["small-*"], "/max_tokens" = { max = 100, optional = true } }
""")
        s = self.session_in(self.project)
        json_type = [("Content-Type", "application/json")]
        post = lambda body, headers=json_type: s.request("POST", "/api/chat", headers=headers, body=body)
        self.assertEqual(post(b'{"model": "small-1"}')[0], 200)
        self.assertEqual(self.u.requests[-1]["body"], b'{"model": "small-1"}')
        self.assertNotIn("Transfer-Encoding", dict(self.u.requests[-1]["headers"]))
        seen = len(self.u.requests)
        for body in (b'{"model": "large"}', b'{"model": "small-1", "model": "large"}', b'{"model": "small-1", "Model": "large"}',
                     b'{"model": "small-1", "max_tokens": 101}', b'{"model": ["small-1"]}', b"", b'{"model": "small-1"', b"[]"):
            self.assert_error(post(body), 403, "policy_denied")
        self.assert_error(post(b'{"model": "small-1"}', []), 403, "policy_denied")
        self.assert_error(post(b'{"model": "small-1"}', json_type + [("Content-Encoding", "gzip")]), 403, "policy_denied")
        chunked = (b"POST /api/chat HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\nAuthorization: Bearer %s\r\n"
                   b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" % (s.port, s.token.encode()))
        self.assertIn(b" 403 ", s.raw(chunked + b"a\r\n{\"model\": \r\n7\r\n\"large\"\r\n1\r\n}\r\n0\r\n\r\n").split(b"\r\n")[0])
        self.assertEqual(len(self.u.requests), seen)
        self.assertIn(b" 200 ", s.raw(chunked + b"a\r\n{\"model\": \r\n9\r\n\"small-1\"\r\n1\r\n}\r\n0\r\n\r\n").split(b"\r\n")[0])
        self.assertEqual(self.u.requests[-1]["body"], b'{"model": "small-1"}')

    def test_a_method_that_a_field_names(self):
        self.trust(ALLOW_A.replace('[[', '[[agents.default.rules]]\neffect = "allow"\nmethods = ["POST"]\n[[', 1))
        s = self.session_in(self.project)
        form = [("Content-Type", "application/x-www-form-urlencoded")]
        self.assertEqual(s.request("POST", "/api/x", headers=form, body=b"a=1")[0], 200)
        seen = len(self.u.requests)
        for target, body in (("/x", b"_method=DELETE"), ("/x", b"a=1&%5Fmethod=delete"), ("/x?_method=DELETE", b"a=1"), ("/x?_method=PUT", b"")):
            self.assert_error(s.request("POST", "/api" + target, headers=form, body=body), 403, "policy_denied")
        self.assertEqual(len(self.u.requests), seen)

    def test_large_bodies_count_against_the_request_where_a_rule_asks(self):
        self.trust("""
version = 1
[[agents.default.rules]]
effect  = "allow"
paths   = ["/free"]
[[agents.default.rules]]
effect   = "allow"
paths    = ["/small"]
max_body = 10
[[agents.default.rules]]
effect  = "allow"
paths   = ["/judged"]
body    = { "/a" = [1] }
""")
        s = self.session_in(self.project)
        large = b'{"a": 1, "b": "' + b"x" * (17 << 20) + b'"}'
        kind = [("Content-Type", "application/json")]
        self.assertEqual(s.request("POST", "/api/free", body=large, headers=kind)[0], 200)
        self.assert_denied(s, "/judged", method="POST", body=b'{"a": 2}', headers=kind)
        self.assert_allowed(s, "/judged", method="POST", body=b'{"a": 1, "b": "' + b"x" * (1 << 20) + b'"}', headers=kind)
        self.assert_allowed(s, "/small", method="POST", body=b"0123456789")
        self.assert_denied(s, "/small", method="POST", body=b"0123456789a")
        head = (f"POST /api/judged HTTP/1.1\r\nHost: 127.0.0.1:{s.port}\r\nAuthorization: Bearer {s.token}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(large)}\r\nExpect: 100-continue\r\n\r\n")
        self.assertIn(b" 403 ", s.raw(head.encode()).split(b"\r\n")[0])

    def test_headers_are_judged_as_they_are_forwarded(self):
        """What Connection names goes no further, and a trailer comes after the judgement."""
        self.trust("""
version = 1
[[agents.default.rules]]
effect  = "allow"
paths   = ["/dry"]
headers = { X-Dry-Run = ["true"] }
[[agents.default.rules]]
effect  = "allow"
paths   = ["/free"]
""")
        s = self.session_in(self.project)
        dry = ("X-Dry-Run", "true")
        self.assert_allowed(s, "/dry", headers=[dry])
        self.assert_denied(s, "/dry", headers=[dry, ("Connection", "x-dry-run")])
        sent = s.raw((f"POST /api/free HTTP/1.1\r\nHost: 127.0.0.1:{s.port}\r\nAuthorization: Bearer {s.token}\r\nConnection: close\r\n"
                      "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Dry-Run: false\r\n\r\n").encode())
        self.assertIn(b" 200 ", sent.split(b"\r\n")[0])
        self.assertNotIn("x-dry-run: false", str(self.u.requests[-1]).lower())

    def test_paths_without_a_credential_have_one_reading(self):
        plain = self.upstream(tls=False)
        self.trust(f"""
version = 1
[agents.default]
egress = ["localhost:{plain.port}"]
[[agents.default.rules]]
effect = "deny"
paths  = ["/admin/**"]
""")
        s = self.session_in(self.project)
        basic = base64.b64encode(f"agentvault:{s.proxy_token}".encode()).decode()
        def status(path):
            head = (f"GET http://localhost:{plain.port}{path} HTTP/1.1\r\nHost: localhost:{plain.port}\r\n"
                    f"Proxy-Authorization: Basic {basic}\r\nConnection: close\r\n\r\n")
            return int(s.raw(head.encode()).split()[1])
        self.assertEqual(status("/open"), 200)
        for path in ("/admin/x", "/%61dmin/x", "/x/../admin/x", "//admin/x", "/./admin/x", "/admin%2fx"):
            with self.subTest(path):
                self.assertIn(status(path), (400, 403))
        self.assertEqual([r["path"] for r in plain.requests], ["/open"])

    def session_that_reads_bodies(self):
        self.trust("""
version = 1
[[agents.default.rules]]
effect = "allow"
[[agents.default.rules]]
effect = "deny"
body   = { "/a" = ["x"] }
""")
        return self.session_in(self.project)

    def test_idle_connections_hold_no_room_for_bodies(self):
        s = self.session_that_reads_bodies()
        kind = [("Content-Type", "application/json")]
        idle = []
        for _ in range(3):
            body = b"{" + b" " * ((16 << 20) - 2) + b"}"
            connection = s.connect()
            self.addCleanup(connection.close)
            connection.sendall((f"POST /api/x HTTP/1.1\r\nHost: 127.0.0.1:{s.port}\r\nAuthorization: Bearer {s.token}\r\n"
                                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body)
            self.assertIn(b" 200 ", connection.recv(65536).split(b"\r\n")[0])
            idle.append(connection)
        self.assert_allowed(s, "/x", method="POST", body=b"{}", headers=kind)

    def test_sub_agents_leave_their_parent_room_for_bodies(self):
        s = self.session_that_reads_bodies()
        kind = [("Content-Type", "application/json")]
        narrow = self.ok(self.v.run("token", "attenuate", s.token)).out.strip()
        def hold(token):
            """A body that stops before its end."""
            connection = s.connect()
            self.addCleanup(connection.close)
            connection.sendall((f"POST /api/x HTTP/1.1\r\nHost: 127.0.0.1:{s.port}\r\nAuthorization: Bearer {token}\r\n"
                                f"Content-Type: application/json\r\nContent-Length: {(15 << 20) + 1}\r\n\r\n").encode() + b" " * (15 << 20))
            return connection
        hold(narrow)
        # The second one is too much.
        self.assertIn(b" 503 ", hold(narrow).recv(65536).split(b"\r\n")[0])
        hold("agv_nobody")
        self.assert_allowed(s, "/x", method="POST", body=b"{}" + b" " * (10 << 20), headers=kind)

    def test_what_a_websocket_will_carry_counts_against_it(self):
        rule = "[[agents.default.rules]]\neffect = '%s'\nbody = { '/model' = ['%s'] }\n"
        socket = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]
        self.trust("version = 1\n" + rule % ("allow", "*"))
        s = self.session_in(self.project)
        self.assert_denied(s, "/ws", headers=socket)
        self.trust("version = 1\n[[agents.default.rules]]\neffect = 'allow'\n" + rule % ("deny", "large"))
        self.assert_denied(s, "/ws", headers=socket)
        self.assertEqual(self.u.requests, [])

    def test_rules_without_a_credential_take_hosts_away(self):
        self.trust("""
version = 1
[agents.default]
egress = ["localhost", "other.example"]
[[agents.default.rules]]
effect = "deny"
hosts  = ["other.example"]
""")
        plain = self.upstream(tls=False)
        s = self.session_in(self.project)
        def status(target):
            code, connection = s.tunnel(target)
            connection.close()
            return code
        self.assertEqual(status(f"localhost:{plain.port}"), 200)
        self.assertEqual(status("other.example:443"), 403)
        self.assertEqual(status("third.example:443"), 403)
        # Into a tunnel nobody looks: what denies a part of a host denies tunnels to it, what is about no host does not.
        self.trust("""
version = 1
[agents.default]
egress = ["localhost"]
[[agents.default.rules]]
effect  = "deny"
methods = ["DELETE"]
""")
        self.assertEqual(status(f"localhost:{plain.port}"), 200)
        self.trust("""
version = 1
[agents.default]
egress = ["localhost"]
[[agents.default.rules]]
effect  = "deny"
hosts   = ["localhost"]
methods = ["DELETE"]
paths   = ["/x"]
""")
        self.assertEqual(status(f"localhost:{plain.port}"), 403)


class LiveTest(PolicyTest):
    def test_a_running_session_follows_at_once(self):
        self.trust(ALLOW_A)
        s = self.session_in(self.project)
        self.assert_allowed(s, "/a/x")
        self.trust(ALLOW_B)
        self.assert_denied(s, "/a/x")
        self.assert_allowed(s, "/b/x")
        status, connection = s.tunnel("other.example:443")
        self.assertEqual(status, 403)
        connection.close()

    def test_a_policy_that_comes_later_holds_for_what_runs(self):
        s = self.session_in(self.project)
        self.assert_allowed(s, "/b/x")
        self.trust(ALLOW_A)
        self.assert_denied(s, "/b/x")

    def test_a_session_elsewhere_or_of_another_agent_is_not_touched(self):
        s = self.session_in(self.folder)
        self.trust(ALLOW_A)
        self.assert_allowed(s, "/b/x")

    def test_a_stream_that_is_no_longer_allowed_is_cut(self):
        self.trust(ALLOW_A)
        release = self.folder / "release"
        def stream(handler, body):
            handler.send_response(200)
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            handler.wfile.write(b"6\r\nhello\n\r\n")
            handler.wfile.flush()
            wait_for(release.exists, "the release")
        self.u.routes["/a/stream"] = stream
        s = self.session_in(self.project)
        with s.connect() as connection:
            connection.sendall(f"GET /api/a/stream HTTP/1.1\r\nHost: 127.0.0.1:{s.port}\r\nAuthorization: Bearer {s.token}\r\n\r\n".encode())
            got = b""
            while b"hello" not in got:
                got += connection.recv(4096)
            self.trust(ALLOW_B)
            try:
                rest = connection.recv(4096)
            except ConnectionResetError:
                rest = b""
            self.assertEqual(rest, b"")
        release.touch()

    def test_a_credential_that_is_no_longer_granted_is_gone_and_does_not_come_back(self):
        self.trust(ALLOW_A)
        s = self.session_in(self.project)
        self.trust(ALLOW_A.replace("egress", 'credentials = []\negress'))
        self.assert_denied(s, "/a/x", code="credential_withdrawn")
        self.trust(ALLOW_A)
        self.assert_denied(s, "/a/x", code="credential_withdrawn")

    def test_an_agent_that_no_policy_names_any_more_is_stopped(self):
        text = ALLOW_A + "\n[agents.reader]\n"
        self.trust(text)
        s = self.session_in(self.project, "--agent", "reader")
        self.assert_allowed(s, "/b/x")
        self.trust(ALLOW_A)
        self.assert_error(s.request("GET", "/api/b/x"), 401, "session_revoked")

    def test_a_session_that_does_not_answer_is_killed(self):
        self.trust(ALLOW_A)
        s = self.session_in(self.project)
        s.process.send_signal(signal.SIGSTOP)
        self.write(ALLOW_B)
        done = self.ok(self.in_project("policy", "trust"))
        self.assertIn("did not answer and was killed", done.err)
        self.assertEqual(s.process.wait(LIMIT), -signal.SIGKILL)

    def test_what_a_killed_writer_left_is_told_by_the_next_opener(self):
        self.trust(ALLOW_A)
        s = self.session_in(self.project)
        # The writer is killed after the change is stored, before it has told anybody: it finds no session to tell.
        hidden = self.folder / "hidden"
        (self.v.path / "sessions").rename(hidden)
        self.write(ALLOW_B)
        self.in_project("policy", "trust")
        (self.v.path / "sessions").exists() and (self.v.path / "sessions").rmdir()
        hidden.rename(self.v.path / "sessions")
        self.assert_allowed(s, "/a/x")
        with sqlite3.connect(self.v.path / "vault.db") as database:
            database.execute("INSERT OR REPLACE INTO unannounced SELECT 1, epoch, sequence FROM stage")
        database.close()
        self.ok(self.v.run("exec", "--", "true"))
        self.assert_denied(s, "/a/x")
        self.assert_allowed(s, "/b/x")
        with sqlite3.connect(self.v.path / "vault.db") as database:
            self.assertEqual(database.execute("SELECT count(*) FROM unannounced").fetchone(), (0,))
        database.close()

    def test_a_forged_or_old_announcement_changes_nothing(self):
        self.trust(ALLOW_A)
        s = self.session_in(self.project)
        socket_path = next((self.v.path / "sessions").glob("*.sock"))
        import base64
        import socket
        def tell(subject):
            with socket.socket(socket.AF_UNIX) as control:
                control.connect(str(socket_path))
                control.sendall(json.dumps({"command": "policies", "subject": subject}).encode() + b"\n")
                return json.loads(control.recv(65536))
        for subject in ("", "!", base64.b64encode(b"x" * 200).decode()):
            self.assertEqual(tell(subject), {"done": False})
        self.assert_allowed(s, "/a/x")
        self.assert_denied(s, "/b/x")

    def test_check_remarks_on_what_is_hardly_meant(self):
        rule = lambda more: f"[[agents.default.rules]]\n{more}\n"
        allow = rule("effect = 'allow'\nmethods = ['GET']\npaths = ['/a/**']")
        deny = rule("effect = 'deny'\npaths = ['/a/**']")
        for text, remark in (("[agents.defualt]\n", 'is "default" meant?'),
                             (rule("effect = 'allow'\npaths = ['/v1/.*']"), "is no regular expression"),
                             (rule("effect = 'allow'\ncredential = 'api'\nhosts = ['api.example.org']"), "the credential api is for localhost, never for api.example.org"),
                             (allow + rule("effect = 'allow'\nmethods = ['GET']\npaths = ['/a/b']"), "line 6: the rule allows nothing"),
                             (rule("effect = 'allow'\npaths = ['/b']") + deny + allow, "line 8: the rule allows nothing"),
                             (rule("effect = 'approve'\nmethods = ['DELETE']"), "goes on unasked"),
                             ("[agents.default.budget]\nusd_per_day = 5.0\n", "presets of its credentials know no prices"),
                             ("[agents.default.credential_budget.api]\nusd_per_day = 5.0\n", "money is limited for api")):
            done = self.ok(self.v.run("policy", "check", self.write("version = 1\n" + text)))
            self.assertEqual(done.err.count("warning: "), 1, (text, done.err))
            self.assertIn(remark, done.err)
        for text in (allow + deny.replace("/a/**", "/a/secret"), allow + rule("effect = 'allow'\nmethods = ['POST']\npaths = ['/a/b']"), "[agents.reviewer]\n",
                     rule("effect = 'approve'\nmethods = ['DELETE']") + allow):
            self.assertNotIn("warning", self.ok(self.v.run("policy", "check", self.write("version = 1\n" + text))).err, text)

    def test_a_refusal_names_the_rule_and_where_it_stands(self):
        self.trust(ALLOW_A + "\n[[agents.default.rules]]\neffect = 'deny'\npaths = ['/a/secret']\n")
        s = self.session_in(self.project)
        hint = json.loads(s.request("GET", "/api/a/secret")[2])["error"]["hint"]
        line = 1 + (self.project / "agentvault.toml").read_text().splitlines().index("effect = 'deny'")
        self.assertRegex(hint, rf"it is line ({line - 1}|{line}) of {self.project}/agentvault.toml; \"agentvault show api\"")
        self.assertEqual(json.loads(s.request("GET", "/api/none")[2])["error"]["hint"], '"agentvault show api" lists the rules')

    def test_revoking_an_agent_stops_its_sessions_only_and_lasts_until_it_is_lifted(self):
        text = ALLOW_A + "\n[agents.reader]\n"
        self.trust(text)
        reader, other = self.session_in(self.project, "--agent", "reader"), self.session_in(self.project)
        self.ok(self.v.run("revoke", "--agent", "reader"))
        self.assert_error(reader.request("GET", "/api/a/x"), 401, "session_revoked")
        self.assert_allowed(other, "/a/x")
        self.refused(self.in_project("exec", "--agent", "reader", "--", "true"), 4, "the agent reader is revoked")
        file = self.folder / "vaults.toml"
        file.write_text(text)
        for words in (["trust"], ["apply", file]):
            done = self.ok(self.in_project("policy", *words))
            self.assertIn("the agent reader stays revoked; \"agentvault revoke --agent reader --lift\"", done.err)
            self.assertNotIn("agent default", done.err)
            self.refused(self.in_project("exec", "--agent", "reader", "--", "true"), 4, "the agent reader is revoked")
        for words in (["trust"], ["apply", file]):
            self.assertIn("the agent reader may start sessions again", self.ok(self.in_project("policy", *words, "--readmit")).err)
            self.ok(self.in_project("exec", "--agent", "reader", "--", "true"))
            self.ok(self.v.run("revoke", "--agent", "reader"))


class CompareTest(PolicyTest):
    def file(self, name, text):
        path = self.folder / name
        path.write_text("version = 1\n" + text)
        return path

    def test_where_a_credential_is_nobody_knows_all_hosts_are_tried(self):
        rule = '[[agents.default.rules]]\neffect = "allow"\ncredential = "{}"\nhosts = ["acme.atlassian.net"]\nmethods = ["GET", "DELETE"]\n'
        empty = self.file("empty.toml", "[agents.default]\n")
        for name in ("jira", "nobody-knows-it"):
            file = self.file("a.toml", rule.format(name))
            none = ("--vault", self.folder / "no vault")
            done = self.v.run(*none, "policy", "prove", file, f"never DELETE {name} /**")
            self.assertEqual(done.code, 1, done)
            self.assertIn(f"{name} at acme.atlassian.net", done.out)
            self.assertIn(f"{name} at acme.atlassian.net", self.v.run(*none, "policy", "diff", empty, file).out)
            self.assertEqual(self.ok(self.v.run(*none, "policy", "prove", file, f"never POST {name} /**")).out, "")
        self.assertIn("without one, egress is open to default", self.v.run("policy", "prove", empty, "never POST * /**").err)
        closed = self.file("closed.toml", '[agents.default]\negress = "brokered"\n')
        self.assertNotIn("egress", self.v.run("policy", "prove", closed, "never POST * /**").err)

    def test_more_credentials_are_a_widening(self):
        one = self.file("one.toml", '[agents.default]\ncredentials = ["github"]\negress = "brokered"\n')
        every = self.file("every.toml", '[agents.default]\negress = "brokered"\n')
        none = self.file("none.toml", '[agents.default]\ncredentials = []\negress = "brokered"\n')
        for old, new in ((one, every), (none, every), (none, one)):
            done = self.v.run("--json", "policy", "diff", old, new)
            self.assertEqual(done.code, 1, (old, new, done))
            self.assertIn("credentials", [r["what"] for r in json.loads(done.out)])
            self.assertEqual(self.v.run("policy", "prove", new, "--within", old).code, 1)
        self.ok(self.v.run("policy", "diff", every, one))

    def test_claims_about_credentials_that_may_come_and_claims_that_say_nothing(self):
        file = self.file("a.toml", '[[agents.default.rules]]\neffect = "allow"\nhosts = ["localhost"]\nmethods = ["DELETE"]\n[[agents.default.rules]]\neffect = "allow"\ncredential = "api"\nmethods = ["GET"]\n')
        self.assertEqual(self.v.run("policy", "prove", file, "never DELETE * /**").code, 1)
        for claim in ("never DELETE,POST * /**", "never DELETES * /**", "never | * /**", "never delete * /**"):
            self.refused(self.v.run("policy", "prove", file, claim), 2, "not a method", "never DELETE github")
        self.ok(self.v.run("policy", "prove", self.file("b.toml", "[agents.default]\ncredentials = []\n"), "never GET github /**"))

    def test_a_policy_is_proved_to_stay_within_another(self):
        rule = '[[agents.{}.rules]]\neffect = "allow"\nmethods = ["{}"]\npaths = ["/a/**"]\n'
        settings = '[agents.{}]\negress = "brokered"\n'
        boundary = self.file("boundary.toml", settings.format("default") + rule.format("default", "GET") + settings.format("writer") + rule.format("writer", "POST"))
        inside = self.file("inside.toml", settings.format("default") + rule.format("default", "GET").replace("/a/**", "/a/b") + settings.format("other") + rule.format("other", "GET"))
        self.assertIn("proved: nothing is permitted", self.ok(self.v.run("policy", "prove", inside, "--within", boundary)).err)
        for name, method in (("default", "POST"), ("other", "DELETE"), ("writer", "GET")):
            outside = self.file("outside.toml", settings.format("default") + rule.format("default", "GET") + (settings.format(name) if name != "default" else "") + rule.format(name, method))
            done = self.v.run("--json", "policy", "prove", outside, "--within", boundary)
            self.assertEqual(done.code, 1, (name, done))
            self.assertEqual({r["agent"] for r in json.loads(done.out)}, {name})
        self.refused(self.v.run("policy", "prove", inside), 2, "a claim, or --within", "never DELETE")
        self.refused(self.v.run("policy", "prove", inside, "never GET * /**", "--within", boundary), 2, "a claim, or --within", "never DELETE")

    def test_diff_shows_what_becomes_possible(self):
        old = self.file("old.toml", ALLOW_A.split("\n", 2)[2])
        new = self.file("new.toml", ALLOW_A.split("\n", 2)[2].replace('"brokered"', '["docs.example.org"]') + """
[[agents.default.rules]]
effect  = "allow"
methods = ["DELETE"]
body    = { "/really" = [true] }
[agents.helper]
isolation = "off"
""")
        self.assertIn("nothing is permitted that was not before", self.ok(self.v.run("policy", "diff", old, old)).err)
        self.assertEqual(self.ok(self.v.run("--json", "policy", "diff", new, old)).out.strip(), "[]")
        done = self.v.run("--json", "policy", "diff", old, new)
        self.assertEqual(done.code, 1)
        found = json.loads(done.out)
        by = {(row["agent"], row["what"]): row for row in found}
        self.assertEqual((by["default", "api"]["was"], by["default", "api"]["becomes"]), ("denied", "allowed"))
        self.assertTrue(by["default", "api"]["example"].startswith("DELETE /"))
        self.assertIn('{"really":true}', by["default", "api"]["example"])
        self.assertEqual(by["default", "egress"]["example"], "CONNECT docs.example.org:443")
        self.assertIn(("helper", "api"), by)
        self.assertEqual((by["helper", "isolation"]["was"], by["helper", "isolation"]["becomes"]), ("auto", "off"))
        self.assertIn("DELETE", self.v.run("policy", "diff", old, new).out)

    def test_a_larger_budget_and_more_folders_are_wider(self):
        old = self.file("old.toml", '[agents.default]\nbudget = { usd_per_day = 1.0, requests_per_day = 5 }\nmax_lifetime = "1h"\n')
        new = self.file("new.toml", '[agents.default]\nbudget = { usd_per_day = 2.0 }\nwrite = ["~/x"]\n')
        rows = {row["what"]: (row["was"], row["becomes"]) for row in json.loads(self.v.run("--json", "policy", "diff", old, new).out)}
        self.assertEqual(rows, {"requests a day": ("5", "no limit"), "money": ("1.00 USD a day", "2.00 USD a day"),
                                "max_lifetime": ("1h", "12h"), "write": ("no", "~/x")})

    def test_prove(self):
        policy = self.file("p.toml", "[agents.default]\n[[agents.default.rules]]\neffect='allow'\nmethods=['GET','DELETE']\npaths=['/a/*']\n"
                           "[[agents.default.rules]]\neffect='approve'\nmethods=['PUT']\n")
        prove = lambda claim: self.v.run("--json", "policy", "prove", policy, claim)
        self.assertIn("proved", self.ok(self.v.run("policy", "prove", policy, "never DELETE api /b/**")).err)
        done = prove("never DELETE * /a/**")
        self.assertEqual(done.code, 1)
        self.assertRegex(json.loads(done.out)[0]["example"], "^DELETE /a/[a-z]*$")
        self.assertEqual(prove("never unasked PUT api /**").code, 0)
        self.assertEqual(prove("never PUT api /**").code, 1)
        for bad in ("always GET api /x", "never", "never GET", "never GET api x"):
            self.refused(self.v.run("policy", "prove", policy, bad), 2, "", "never DELETE github")
        # Who is not named has the presets, and rules are about credentials that are not there yet, too.
        other = self.folder / "other.toml"
        other.write_text("version = 1\n[agents.x]\ncredentials = []\n")
        self.assertEqual(self.v.run("policy", "prove", other, "never DELETE api /**").code, 1)
        other.write_text('version = 1\n[[agents.default.rules]]\neffect = "allow"\n')
        nowhere = {"AGENTVAULT_HOME": str(self.folder / "none")}
        self.assertEqual(self.v.run("policy", "prove", other, "never DELETE * /**", env=nowhere).code, 1)
        policy_of_nobody = self.folder / "deny.toml"
        policy_of_nobody.write_text('version = 1\n[[agents.default.rules]]\neffect = "deny"\n')
        self.assertEqual(self.v.run("policy", "diff", policy_of_nobody, other, env=nowhere).code, 1)
        self.refused(self.v.run("policy", "prove", policy, "never GET nobody /x"), 3, "no credential, and no preset")

    def test_learn_proposes_no_more_than_was_done(self):
        """Whatever an agent calls things."""
        self.trust('version = 1\n[agents.default]\n[[agents.default.rules]]\neffect = "allow"\n')
        s = self.session_in(self.project)
        for method, path in (("GET", "/safe/**"), ("GET", "/u/*"), ("*", "/x"), ("get", "/y"), ("GET", "/fine")):
            self.assertIn(s.request(method, "/api" + path)[0], (200, 501), path)  # the stand-in does not know all of them
        s.tunnel("open:443")[1].close()
        s.stop()
        text = self.ok(self.v.run("policy", "learn")).out
        policy = tomllib.loads(text)["agents"]["default"]
        self.assertEqual([(rule["methods"], rule["paths"]) for rule in policy["rules"]], [(["GET"], ["/fine"])])
        self.assertEqual(policy["egress"], ["open:443"])
        self.assertEqual(text.count("# left out, a rule would allow more: api "), 4, text)
        self.trust(text)
        shown = self.ok(self.in_project("policy", "show")).out
        self.assertNotIn("open\n", shown)
        self.assertEqual(self.in_project("policy", "explain", "GET", "https://evil.example/").code, 4)

    def test_learn_proposes_what_would_have_been_enough(self):
        self.refused(self.v.run("policy", "learn"), 3, "no log of a session yet")
        s = self.session(self.v)
        done = ["/users/1/posts", "/users/2/posts", "/users/3/posts", "/keys", "/items/77"]
        for path in done:
            self.assertEqual(s.request("GET", "/api" + path)[0], 200)
        self.assertEqual(s.request("POST", "/api/keys", body=b"x")[0], 200)
        s.stop()
        text = self.ok(self.v.run("policy", "learn")).out
        policy = tomllib.loads(text)["agents"]["default"]
        self.assertEqual((policy["credentials"], policy["egress"]), (["api"], "brokered"))
        self.assertEqual([(rule["methods"], rule["paths"]) for rule in policy["rules"]],
                         [(["GET"], ["/items/77", "/keys", "/users/*/posts"]), (["POST"], ["/keys"])])
        self.trust(text)
        s = self.session_in(self.project)
        for path in done:
            self.assert_allowed(s, path)
        self.assert_denied(s, "/users/1")
        self.assert_denied(s, "/items/78")
        s.stop()
        wider = self.ok(self.in_project("policy", "learn", "--denied", "--agent", "scout")).out
        self.assertIn("/items/78", tomllib.loads(wider)["agents"]["scout"]["rules"][0]["paths"])
        self.refused(self.v.run("policy", "learn", "--session", "../x"), 2, "not the id of a session")


class StoredTest(PolicyTest):
    def test_a_policy_row_that_somebody_changed_opens_nothing(self):
        self.trust(ALLOW_A)
        def change(statement):
            database = sqlite3.connect(self.v.path / "vault.db")
            database.execute(statement)
            database.commit()
            database.close()
        change("UPDATE policy SET text = replace(text, '/a/', '/b/')")
        self.refused(self.in_project("exec", "--", "true"), 6, "changed by something other than agentvault")
        change("UPDATE policy SET text = replace(text, '/b/', '/a/')")
        self.ok(self.in_project("exec", "--", "true"))
        change("DELETE FROM policy")
        self.refused(self.in_project("exec", "--", "true"), 6, "changed by something other than agentvault")

    def test_an_older_copy_of_the_vault_brings_no_older_policy_back(self):
        self.trust(ALLOW_B)
        copy = (self.v.path / "vault.db").read_bytes()
        self.trust(ALLOW_A)
        for left in ("vault.db-wal", "vault.db-shm"):
            (self.v.path / left).unlink(missing_ok=True)
        (self.v.path / "vault.db").write_bytes(copy)
        self.refused(self.in_project("exec", "--", "true"), 6, "")

    def test_a_backup_keeps_policies(self):
        phrase = self.folder / "phrase"
        phrase.write_text("correct horse battery staple")
        phrase.chmod(0o600)
        self.trust(ALLOW_A)
        self.ok(self.v.run("recovery", "set", "--new-passphrase-file", phrase))
        self.ok(self.v.run("backup", self.folder / "b"))
        self.v.path.rename(self.folder / "lost")
        self.ok(self.v.run("restore", self.folder / "b", "--tpm", "embedded", "--passphrase-file", phrase))
        s = self.session_in(self.project)
        self.assert_denied(s, "/b/x")

    def test_a_vault_from_before_there_were_policies_opens(self):
        database = sqlite3.connect(self.v.path / "vault.db")
        database.executescript("DROP TABLE policy; DROP TABLE unannounced; PRAGMA user_version = 1")
        database.close()
        self.ok(self.v.run("exec", "--", "true"))
        self.trust(ALLOW_A)
        self.ok(self.in_project("exec", "--", "true"))


if __name__ == "__main__":
    main()
