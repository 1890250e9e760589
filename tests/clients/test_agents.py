"""Real agents inside strict, on a terminal, with a home of their own: they talk to a stand-in for their model through the
broker, run a shell command and change a file of the working directory. Tools that they use, likewise."""
import json
import shutil
import subprocess
import unittest

from agents import FOLDER, InProject, anthropic, openai, problem
from harness import KEY, free_port, main, run_on_terminal, wait_for


class ToolTest(InProject):
    def test_a_compiler(self):
        (self.project / "a.c").write_text('#include <stdio.h>\nint main(void) { puts("compiled"); }\n')
        self.assertEqual(self.ok(self.inside("cc -o a a.c && ./a")).out, "compiled\n")

    @unittest.skipUnless(shutil.which("npm"), "SKIPPED: no npm")
    def test_npm_installs_from_a_registry_that_is_reached(self):
        package = self.base / "left"
        package.mkdir()
        (package / "package.json").write_text(json.dumps({"name": "left", "version": "1.0.0", "main": "index.js"}))
        (package / "index.js").write_text("module.exports = 'from the registry'\n")
        subprocess.run(["npm", "pack", "--silent"], cwd=package, check=True, capture_output=True)
        registry = self.upstream(tls=False, name="127.0.0.1")
        archive = (package / "left-1.0.0.tgz").read_bytes()
        index = {"name": "left", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {
            "name": "left", "version": "1.0.0", "dist": {"tarball": registry.url + "/left.tgz"}}}}
        registry.routes["/left"] = lambda handler, _: handler.answer(200, json.dumps(index).encode(), [("Content-Type", "application/json")])
        registry.routes["/left.tgz"] = lambda handler, _: handler.answer(200, archive)
        done = self.inside(f"npm install --no-audit --no-fund --registry {registry.url} left >&2 && node -p \"require('left')\"", "--reach", registry.port)
        self.assertEqual(self.ok(done).out, "from the registry\n")
        self.assertFalse((self.base / "home/.npm").exists())

    @unittest.skipUnless(shutil.which("redis-server") and shutil.which("redis-cli"), "SKIPPED: no redis")
    def test_a_database_of_this_machine_is_reached_where_it_is_named(self):
        port = free_port()
        server = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"], cwd=self.base,
                                  stdout=subprocess.DEVNULL)
        self.addCleanup(lambda: (server.terminate(), server.wait(30)))
        ask = f"redis-cli -p {port}"
        wait_for(lambda: subprocess.run(ask.split() + ["ping"], capture_output=True, text=True).stdout == "PONG\n", "the database")
        self.assertEqual(self.ok(self.inside(f"{ask} set key value && {ask} get key", "--reach", port)).out, "OK\nvalue\n")
        self.assertNotIn("value", self.inside(f"{ask} get key").out)
        # The same from the project's policy.
        (self.project / "agentvault.toml").write_text(f'version = 1\n[agents.default]\nreach = ["{port}"]\n')
        self.ok(self.v.run("policy", "trust", cwd=self.project))
        self.assertEqual(self.ok(self.inside(f"{ask} get key")).out, "value\n")


@unittest.skipIf(problem(), f"SKIPPED: no agents to try ({problem()})")
class AgentTest(InProject):
    def run_agent(self, *words):
        argv = ["sh", "-c", 'cd "$0" && exec "$@"', str(self.project), *self.v.argv("exec", "-q", "--isolation", "strict", "--share", FOLDER, "--", *words)]
        return run_on_terminal(argv, self.v.environment, [], limit=150)

    def check(self, code, output):
        self.assertEqual(code, 0, output[-3000:])
        self.assertIn("stand-in is done", output)
        self.check_what_the_agent_did(self.server)
        self.assertNotIn(KEY, output)

    def limit_tokens(self):
        """What real agents send is known, so that it can be limited."""
        policy = self.base / "policy.toml"
        policy.write_text("version = 1\n[agents.default.budget]\ntokens_per_day = 100000000\n")
        self.ok(self.v.run("policy", "apply", policy))

    def test_claude_code(self):
        self.limit_tokens()
        self.server.routes["/v1/messages"] = anthropic
        self.ok(self.v.add("anthropic", "--url", self.server.url, "--ca-file", self.certificate.pem))
        self.check(*self.run_agent(FOLDER / "node_modules/.bin/claude", "-p", "make a file", "--allowedTools", "Bash"))
        self.assertTrue((self.base / "home/.claude").is_dir())

    def test_codex(self):
        self.limit_tokens()
        self.server.routes["/v1/responses"] = openai
        self.ok(self.v.add("openai", "--url", self.server.url + "/v1", "--ca-file", self.certificate.pem))
        provider = ("sh", "-c", 'exec "$0" exec --sandbox danger-full-access -m gpt-5.1 -c web_search=disabled -c model_provider=standin -c "model_providers.standin={name=\\"standin\\",'
                    'base_url=\\"$OPENAI_BASE_URL\\",env_key=\\"OPENAI_API_KEY\\",wire_api=\\"responses\\"}" "make a file"')
        (self.base / "home/.codex").mkdir()
        self.check(*self.run_agent(*provider, FOLDER / "node_modules/.bin/codex"))


if __name__ == "__main__":
    main()
