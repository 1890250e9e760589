"""Presets and injections: what is known about services, what users add to it, and where a key goes in."""
import json
import tomllib

from json_schema import check
from harness import KEY, ROOT, SystemTest, main

SECRET_PATH = "12345:abcdef-" + "0123456789abcdef"


class InjectionTest(SystemTest):
    def start(self, inject, *options, secret=KEY):
        self.up = self.upstream()
        self.v = self.vault()
        self.ok(self.v.add("api", "--url", self.up.url, "--ca-file", self.certificate.pem, "--inject", inject, *options, secret=secret))
        self.s = self.session(self.v)

    def post(self, body, path="/api/x", token="", headers=()):
        return self.s.request("POST", path, token=token, body=body, headers=[("Content-Type", "application/json"), *headers])

    def test_a_path_segment(self):
        self.start("path:/bot{}", secret=SECRET_PATH)
        self.assertEqual(self.s.request("GET", f"/api/bot{self.s.token}/sendMessage?a=1", token="")[0], 200)
        self.assertEqual(self.up.requests[0]["path"], f"/bot{SECRET_PATH}/sendMessage?a=1")
        self.assertIsNone(self.up.header(0, "Authorization"))
        # A token in one of the usual places goes in there as well.
        self.assertEqual(self.s.request("GET", "/api/bot/getMe")[0], 200)
        self.assertEqual(self.up.requests[1]["path"], f"/bot{SECRET_PATH}/getMe")
        self.assertEqual([e["path"] for e in self.v.events() if e["event"] == "decided"], ["/bot/sendMessage", "/bot/getMe"])
        for path, status in (("/api/botmine/getMe", 403), ("/api/x", 403), ("/api/bot/getMe", 401), (f"/api/bot{self.s.token}x/getMe", 401),
                             (f"/api/bot{self.s.token}/x/{self.s.token}", 400), (f"/api/x/bot{self.s.token}", 403)):
            self.assertEqual(self.s.request("GET", path, token="")[0], status, path)
        self.assertEqual(len(self.up.requests), 2)

    def test_a_secret_in_the_path_is_escaped(self):
        self.start("path:/k/{}/end", secret="a/b?c#d %" + "0123456789")
        self.assertEqual(self.s.request("GET", f"/api/k/{self.s.token}/end/x", token="")[0], 200)
        self.assertEqual(self.up.requests[0]["path"], "/k/a%2Fb%3Fc%23d%20%250123456789/end/x")

    def test_a_field_of_a_json_body(self):
        self.start("body:/auth/key", secret='quote"back\\slash-' + "0123456789")
        self.assertEqual(self.post(json.dumps({"auth": {"key": self.s.token}, "q": "é"}).encode())[0], 200)
        self.assertEqual(json.loads(self.up.requests[0]["body"]), {"auth": {"key": 'quote"back\\slash-0123456789'}, "q": "é"})
        self.assertEqual(int(self.up.header(0, "Content-Length")), len(self.up.requests[0]["body"]))
        # Nothing else of it changes.
        odd = '{"big": 12345678901234567890123,  "n":1.10, "auth":{"key":"%s"}}'
        self.assertEqual(self.post((odd % self.s.token).encode())[0], 200)
        self.assertEqual(self.up.requests[1]["body"].decode(), odd % 'quote\\"back\\\\slash-0123456789')
        chunked = f"POST /api/x HTTP/1.1\r\nHost: 127.0.0.1:{self.s.port}\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n".encode()
        body = json.dumps({"auth": {"key": self.s.token}}).encode()
        data = self.s.raw(chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        self.assertIn(b"HTTP/1.1 200", data)
        self.assertIsNone(self.up.header(2, "Transfer-Encoding"))

    def test_bodies_that_two_servers_could_read_differently(self):
        self.start("body:/key")
        token = self.s.token
        for body in (b"", b"[]", b"{", b'{"key":1}', b'{"key":{}}', f'{{"key":"{token}","key":"x"}}'.encode(), f'{{"a":{{"b":1,"b":2}},"key":"{token}"}}'.encode(),
                     b'{"key":"\xff"}', f'{{"key":"{token}"}}\0{{}}'.encode(), b'{"a":' * 100 + b"1" + b"}" * 100):
            self.assert_error(self.post(body), 400, "bad_body")
        self.assert_error(self.post(b'{"key":"sk-mine"}'), 401, "foreign_authorization")
        self.assert_error(self.post(b'{"other":1}'), 400, "bad_body")
        self.assert_error(self.post(b'{"key":""}'), 401, "token_missing")
        self.assert_error(self.post(b'{"x":"' + b"y" * 2_000_000 + b'"}'), 413, "body_too_large")
        self.assertEqual(self.up.requests, [])

    def test_basic_on_either_side(self):
        import base64
        self.start("basic:user")
        pair = base64.b64encode(f"{self.s.token}:".encode()).decode()
        self.assertEqual(self.s.request("GET", "/api/x", token="", headers=[("Authorization", "Basic " + pair)])[0], 200)
        self.assertEqual(base64.b64decode(self.up.header(0, "Authorization").split()[1]).decode(), KEY + ":")

    def test_the_secret_is_looked_for_where_it_goes(self):
        self.start("query:key", secret="a b&c=d/e+" + "0123456789")
        self.up.routes["/x"] = lambda handler, body: handler.answer(200, handler.path.encode())
        status, _, body = self.s.request("GET", "/api/x?key=" + self.s.token, token="")
        self.assertNotIn(b"a%20b", body)
        self.assertIn(b"***", body)


class PresetTest(SystemTest):
    def test_all_are_listed_and_can_be_shown(self):
        v = self.vault()
        names = [p["name"] for p in json.loads(self.ok(v.run("provider", "list", "--json")).out)]
        self.assertGreaterEqual(len(names), 40)
        self.assertEqual(sorted(names), sorted(p.stem for p in (ROOT / "schemas/providers").glob("*.toml")))
        for name in names:
            shown = json.loads(self.ok(v.run("provider", "show", name, "--json")).out)
            self.assertTrue(shown["documentation"].startswith("https://"), name)
            self.assertTrue(shown["rules"], name)
        self.refused(v.run("provider", "show", "nobody"), 3, "no provider", "provider list")

    def test_the_schema_fits_every_preset(self):
        schema = json.loads((ROOT / "schemas/provider.schema.json").read_text())
        for path in sorted((ROOT / "schemas/providers").glob("*.toml")):
            check(tomllib.loads(path.read_text()), schema, path.name)
        for bad in ({"name": "x"}, {"name": "X Y", "title": "t", "documentation": "https://x", "rules": [{}]}):
            with self.assertRaises(AssertionError):
                check(bad, schema, "bad")

    def test_default_rules_take_no_method_for_every_path_but_generic(self):
        for path in sorted((ROOT / "schemas/providers").glob("*.toml")):
            for rule in tomllib.loads(path.read_text())["rules"]:
                if rule["effect"] == "allow" and path.stem != "generic":
                    self.assertNotIn("*", rule["methods"], path.name)
                    self.assertFalse({"DELETE"} & set(rule["methods"]), path.name)
                    self.assertFalse("/**" in rule["paths"] and set(rule["methods"]) - {"GET", "HEAD"}, path.name)

    def own(self, text, name="mine.toml"):
        folder = self.folder / "config/agentvault/providers"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        return folder / name

    def test_users_add_their_own_and_a_stored_credential_keeps_what_it_had(self):
        v = self.vault()
        v.environment["XDG_CONFIG_HOME"] = str(self.folder / "config")
        text = ('name = "mine"\ntitle = "Mine"\ndocumentation = "https://mine.example/docs"\norigin = "https://mine.example"\nenv = ["MINE_KEY"]\nkey = ["mk-*"]\n'
                '[[rules]]\neffect = "allow"\nmethods = ["GET"]\npaths = ["/a"]\n')
        self.own(text)
        self.assertIn("mine.toml", self.ok(v.run("provider", "list")).out)
        done = self.ok(v.add("mine"))
        self.assertIn("does not look like a key of Mine (mk-*)", done.err)
        self.assertNotIn("does not look", self.ok(v.add("other", "--provider", "mine", "--env", "OTHER", secret="mk-" + "0" * 20)).err)
        self.own(text.replace('"/a"', '"/b"').replace('env =', 'anonymous = true\nenv ='))
        self.assertIn("allow GET /a", self.ok(v.run("show", "mine")).out)
        self.assertIn("updated mine", self.ok(v.run("provider", "update", "mine")).err)
        self.assertIn("allow GET /b", self.ok(v.run("show", "mine")).out)
        self.assertIn("already", self.ok(v.run("provider", "update", "mine")).err)
        self.refused(v.run("provider", "update", "nobody"), 3, "no credential named nobody", "agentvault list")

    def test_a_broken_preset_is_named_with_its_line(self):
        v = self.vault()
        v.environment["XDG_CONFIG_HOME"] = str(self.folder / "config")
        path = self.own('name = "mine"\ntitle = "Mine"\ncolour = 1\n')
        self.refused(v.run("provider", "list"), 2, "mine.toml:", "schemas/presets.md")
        path.write_text('name="mine"\ntitle="M"\ndocumentation="https://x/"\norigin="https://x"\naccept=["body:/k"]\n[[rules]]\neffect="allow"\nmethods=["GET"]\npaths=["/"]\n')
        self.refused(v.run("provider", "list"), 2, "must be the one where the key goes", "schemas/presets.md")
        path.write_text('name = "mine"\ntitle = 1\n')
        self.refused(v.add("x", "--url", "https://x.example"), 2, "mine.toml:2:9: title is not a string", "schemas/presets.md")

    def test_a_tenant_s_host_is_asked_for(self):
        v = self.vault()
        self.refused(v.add("jira"), 2, "needs an origin", "--url https://")

    def test_a_key_of_another_shape_is_stored_with_a_warning(self):
        v = self.vault()
        self.assertIn("does not look like a key of OpenAI API", self.ok(v.add("openai", secret="not-a-key-" + "0" * 20)).err)
        self.assertNotIn("does not look", self.ok(v.add("anthropic", secret="sk-ant-api-stand-in-" + "0" * 20)).err)


class TakeTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.up = self.upstream()
        folder = self.folder / "config/agentvault/providers"
        folder.mkdir(parents=True)
        (folder / "local.toml").write_text(f'name="local"\ntitle="L"\ndocumentation="https://x/"\norigin="{self.up.url}"\nenv=["LOCAL_KEY","LOCAL_TOKEN"]\nenv_url=["LOCAL_URL"]\n'
                                           '[[rules]]\neffect="allow"\nmethods=["GET"]\npaths=["/**"]\n')
        from harness import Vault
        self.v = Vault(self.folder)
        self.v.environment.update(XDG_CONFIG_HOME=str(self.folder / "config"), TMPDIR=str(self.folder), SSL_CERT_FILE=str(self.certificate.pem), LOCAL_KEY=KEY, OTHER="x")
        self.v.environment.pop("XDG_RUNTIME_DIR", None)

    def test_keys_move_from_the_environment_into_a_session_without_a_vault(self):
        s = self.session(self.v, "--take", "LOCAL_KEY")
        self.assertTrue(s.environment["LOCAL_KEY"].startswith("agv_"))
        self.assertNotIn(KEY, str(s.environment))
        self.assertEqual(s.environment["OTHER"], "x")
        self.assertEqual(s.request("GET", "/local/x", token=s.environment["LOCAL_KEY"])[0], 200)
        self.assertEqual(self.up.header(0, "Authorization"), "Bearer " + KEY)
        # Nor is it left where exec itself got it from.
        self.assertNotIn(KEY.encode(), open(f"/proc/{s.process.pid}/environ", "rb").read() if __import__("os").geteuid() == 0 else b"")
        self.assertEqual(s.stop(), 0)
        self.assertFalse(self.v.path.exists())
        self.assertEqual([p for p in self.folder.glob("agentvault-*")], [])

    def test_no_vault_is_needed_and_the_line_says_so(self):
        done = self.ok(self.v.run("exec", "--take", "LOCAL_KEY", "--", "sh", "-c", "exit 0"))
        self.assertIn("| no vault | policy presets | egress open | credentials local |", done.err)
        done = self.v.run("exec", "--take", "LOCAL_KEY", "--", "sh", "-c", "exit 7")
        self.assertEqual(done.code, 7)

    def test_what_cannot_be_taken(self):
        for variable, message in (("NOT_SET", "is not set"), ("OTHER", "no provider is known"), ("JIRA_API_TOKEN", "address for each customer")):
            done = self.v.run("exec", "--take", variable, "--", "touch", self.folder / "ran", env={"JIRA_API_TOKEN": "x" * 20})
            self.refused(done, 2, message, "")
        different = self.v.run("exec", "--take", "LOCAL_KEY,LOCAL_TOKEN", "--", "true", env={"LOCAL_TOKEN": "x" * 20})
        self.refused(different, 2, "hold different keys", "take one of them")
        self.refused(self.v.run("exec", "--take", "LOCAL_KEY", "--with", "x", "--", "true"), 2, "--take needs no vault", "one of the two")
        self.assertFalse((self.folder / "ran").exists())

    def test_a_second_name_of_the_same_credential(self):
        done = self.ok(self.v.run("exec", "-q", "--take", "LOCAL_KEY,LOCAL_TOKEN", "--", "sh", "-c", 'echo "$LOCAL_KEY $LOCAL_TOKEN"', env={"LOCAL_TOKEN": KEY}))
        self.assertEqual([word[:4] for word in done.out.split()], ["agv_", "agv_"])


class DoctorTest(SystemTest):
    def test_the_machine_is_looked_at(self):
        v = self.vault()
        done = self.ok(v.run("doctor", "--json"))
        rows = {r["subject"]: r for r in json.loads(done.out)}
        self.assertEqual(rows["vault"]["verdict"], "ok")
        for level in ("strict", "standard"):
            self.assertEqual(rows["isolation " + level]["verdict"], "on")
        self.assertIn("proxy", rows["curl"]["detail"])
        missing = v.run("--vault", self.folder / "none", "doctor")
        self.assertEqual(missing.code, 1)
        self.assertIn("problem", missing.out)

    def clients(self, v, **programs):
        folder = self.folder / "bin"
        folder.mkdir(exist_ok=True)
        for name, says in programs.items():
            (folder / name).write_text(f"#!/bin/sh\necho {says}\n")
            (folder / name).chmod(0o755)
        done = v.run("doctor", "--json", env={"PATH": str(folder)})
        return {r["subject"]: r["verdict"] for r in json.loads(done.out)}

    def test_clients_that_cannot_work_are_named(self):
        v = self.vault()
        self.assertEqual({k: w for k, w in self.clients(v, node="v20.1.0", java="x", aws="x").items() if k in ("node", "java", "aws", "curl")},
                         {"node": "partly", "java": "partly", "aws": "cannot"})
        for version, verdict in (("v22.21.0", "works"), ("v22.20.9", "partly"), ("v24.4.0", "partly"), ("v24.5.0", "works"), ("v25.0.0", "works"), ("nonsense", "partly")):
            self.assertEqual(self.clients(v, node=version)["node"], verdict, version)

    def probe(self, v, name, code):
        done = v.run("doctor", "--probe", name, "--json")
        self.assertEqual(done.code, code, done)
        self.assertNotIn(KEY, done.out + done.err)
        return json.loads(done.out)

    def test_a_probe_shows_whether_the_key_arrives(self):
        up = self.upstream()
        v = self.vault()
        for name, inject, path in (("a", "bearer", "/v1"), ("b", "header:X-Key:k {}", "/v1"), ("c", "query:key", "/v1"), ("d", "basic:pass:me", "/v1"), ("e", "path:/bot{}", "")):
            self.ok(v.add(name, "--url", up.url + path, "--ca-file", self.certificate.pem, "--inject", inject))
            probe = self.probe(v, name, 0)
            self.assertEqual((probe["status"], probe["verdict"]), (200, "the key arrived and was accepted"), name)
            self.assertEqual(probe["key"], "put in as " + inject)
            self.assertIn(KEY if inject != "basic:pass:me" else "bWU6", str(up.requests[-1]), name)
            self.assertEqual(up.requests[-1]["method"], "GET")
        up.routes["/v1/agentvault-probe"] = lambda handler, body: handler.answer(401, b"no")
        self.assertIn("did not accept", self.probe(v, "a", 1)["verdict"])
        up.routes["/v1/agentvault-probe"] = lambda handler, body: handler.answer(404, b'{"error":{"code":"x"}}')
        self.assertIn("does not tell", self.probe(v, "a", 0)["verdict"])
        up.stop()
        probe = self.probe(v, "a", 1)
        self.assertIn("upstream_unreachable", probe["verdict"])
        self.assertEqual(probe["key"], "not put in")

    def test_presets_are_probed_with_what_they_allow(self):
        up = self.upstream()
        v = self.vault()
        self.ok(v.add("openai", "--url", up.url + "/v1", "--ca-file", self.certificate.pem, secret="sk-" + "0" * 30))
        self.assertEqual(self.probe(v, "openai", 0)["request"], f"GET {up.url}/v1/models")
        self.ok(v.add("inbody", "--url", up.url, "--ca-file", self.certificate.pem, "--inject", "body:/k"))
        self.refused(v.run("doctor", "--probe", "inbody"), 2, "goes into a body", "agentvault exec")
        self.refused(v.run("doctor", "--probe", ""), 2, "--probe", "--help")
        self.ok(v.add("resend", "--url", up.url, "--ca-file", self.certificate.pem, secret="re_" + "0" * 30))
        self.refused(v.run("doctor", "--probe", "nobody"), 3, "no credential named nobody", "agentvault list")


if __name__ == "__main__":
    main()
