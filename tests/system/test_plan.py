"""Plans: what an agent declares it is held to, also with a wider token that it kept."""
import json
import subprocess

from harness import PROGRAM, SystemTest, main

PLAN = """
version = 1
[[steps]]
credential = "api"
methods    = ["GET"]
paths      = ["/a/**"]
[[steps]]
credential = "api"
methods    = ["POST"]
paths      = ["/b"]
body       = { "/n" = [1] }
"""


class PlanTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.u = self.upstream()
        self.v = self.vault()
        for name in ("api", "other"):
            self.ok(self.v.add(name, "--url", self.u.url, "--ca-file", self.certificate.pem, "--env", name.upper() + "_KEY"))
        self.file = self.folder / "plan.toml"
        self.file.write_text(PLAN)

    def declare(self, s, token, text=PLAN):
        return s.request("POST", "/.agentvault/plan", token=token, body=text.encode())

    def assert_held(self, s, token):
        self.assertEqual(s.request("GET", "/api/a/x", token=token)[0], 200)
        self.assertEqual(s.request("POST", "/api/b", token=token, body=b'{"n": 1}', headers=[("Content-Type", "application/json")])[0], 200)
        self.assert_error(s.request("POST", "/api/b", token=token, body=b'{"n": 2}', headers=[("Content-Type", "application/json")]), 403, "outside_plan")
        self.assert_error(s.request("GET", "/api/c", token=token), 403, "outside_plan")
        self.assert_error(s.request("GET", "/other/a/x", token=s.token), 403, "outside_plan")

    def test_a_plan_of_the_command_line_holds_for_the_session(self):
        s = self.session(self.v, "--plan", str(self.file))
        self.assert_held(s, s.token)
        self.assert_held(s, s.environment["API_KEY"])
        status, connection = s.tunnel("elsewhere.example:443")
        connection.close()
        self.assertEqual(status, 403)
        self.assertIn("outside_plan", {e.get("reason") for e in self.v.events()})

    def test_a_declared_plan_holds_for_every_token_of_the_session(self):
        s = self.session(self.v)
        self.assertEqual(s.request("GET", "/api/c")[0], 200)
        status, _, body = self.declare(s, s.environment["API_KEY"])
        self.assertEqual((status, json.loads(body)["done"]["code"]), (201, "plan_bound"))
        self.assert_held(s, s.token)
        # Another one only takes away more; none gives anything back.
        self.assertEqual(self.declare(s, s.token, "version = 1\n[[steps]]\n")[0], 201)
        self.assert_error(s.request("GET", "/api/c"), 403, "outside_plan")
        self.assertEqual(self.declare(s, s.token, "version = 1\n")[0], 201)
        self.assert_error(s.request("GET", "/api/a/x"), 403, "outside_plan")

    def test_a_sub_agents_plan_holds_for_it_and_those_behind_it(self):
        s = self.session(self.v)
        narrow = lambda token: subprocess.run([PROGRAM, "token", "attenuate", token], capture_output=True, text=True, check=True).stdout.strip()
        child = narrow(s.environment["API_KEY"])
        self.assertEqual(self.declare(s, child)[0], 201)
        for token in (child, narrow(child)):
            self.assert_error(s.request("GET", "/api/c", token=token), 403, "outside_plan")
        self.assertEqual(s.request("GET", "/api/c")[0], 200)
        self.assertEqual(s.request("GET", "/api/c", token=narrow(s.environment["API_KEY"]))[0], 200)

    def test_plans_that_are_none(self):
        s = self.session(self.v)
        self.assert_error(self.declare(s, "agv_x"), 401, "token_invalid")
        self.assert_error(self.declare(s, ""), 401, "token_invalid")
        for text in ("nonsense", "version = 2", "version = 1\ncolour = 1", "version = 1\n[[steps]]\neffect = 'allow'", "version = 1\n[[steps]]\npaths = ['x']", "[" * 5000):
            response = self.declare(s, s.token, text)
            self.assert_error(response, 400, "bad_plan")
        self.assert_error(self.declare(s, s.token, "#" * 70_000), 413, "body_too_large")
        self.assert_error(s.request("GET", "/.agentvault/plan"), 404, "no_such_credential")
        self.assert_error(s.request("POST", "/.agentvault/other", body=b"x"), 404, "no_such_credential")
        self.assertEqual(s.request("GET", "/api/c")[0], 200)
        for _ in range(64):
            self.assertEqual(self.declare(s, s.token, "version = 1\n[[steps]]\n")[0], 201)
        self.assert_error(self.declare(s, s.token), 403, "too_many_plans")
        self.file.write_text("version = 1\n[[steps]]\ncolour = 1\n")
        self.refused(self.v.run("exec", "--plan", self.file, "--", "true"), 2, "plan.toml:3:1: unknown key colour", "agentvault-exec")
        self.refused(self.v.run("exec", "--plan", self.folder / "none", "--", "true"), 3, "there is no file")

    def test_a_plan_that_is_hard_to_read_harms_nobody(self):
        s = self.session(self.v)
        token = self.ok(self.v.run("token", "attenuate", "--credential", "api", "--method", "GET", env={"AGENTVAULT_TOKEN": s.token})).out.strip()
        for text in ('version = 1\n[[steps]]\nbody = { "/n" = [1234567890123456789] }\n', "version = 1\n[" + ".".join(["a"] * 30_000) + "]\n",
                     "version = 1\nx = " + "[" * 30_000, 'version = 1\n[[steps]]\nbody = { "/m/999999999" = ["x"] }\n'):
            status, _, body = self.declare(s, token, text)
            self.assertEqual((status, json.loads(body)["error"]["code"]), (400, "bad_plan"), text[:50])
            file = self.folder / "bad.toml"
            file.write_text(text)
            self.refused(self.v.run("exec", "--plan", file, "--", "true"), 2, "bad.toml:")
        self.assertEqual(s.request("GET", "/api/x")[0], 200)

    def test_a_sub_agent_cannot_use_up_the_plans_of_others(self):
        s = self.session(self.v)
        sub = lambda token: self.ok(self.v.run("token", "attenuate", env={"AGENTVAULT_TOKEN": token})).out.strip()
        one, other = sub(s.token), sub(s.token)
        for _ in range(64):
            self.assertEqual(self.declare(s, sub(one))[0], 201)
        self.assert_error(self.declare(s, one), 403, "too_many_plans")
        for token in (other, s.token):
            self.assertEqual(self.declare(s, token)[0], 201)

    def test_all_plans_of_a_session_together_are_bounded(self):
        s = self.session(self.v)
        large = "version = 1\n" + "".join(f'[[steps]]\npaths = ["/p{i}/**", "/q{i}/**"]\n' for i in range(1400))
        sub = lambda: self.ok(self.v.run("token", "attenuate", env={"AGENTVAULT_TOKEN": s.token})).out.strip()
        token = sub()
        self.assertEqual(self.declare(s, token, large)[0], 201)
        self.assert_error(self.declare(s, token, large), 403, "too_many_plans")
        codes = [self.declare(s, sub(), large)[0] for _ in range(14)]
        self.assertEqual(codes, [201] * 10 + [403] * 4)
        self.assertEqual(s.request("GET", "/api/x")[0], 200)


if __name__ == "__main__":
    main()
