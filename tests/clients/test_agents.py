"""Real agents inside strict, on a terminal, with a home of their own: they talk to a stand-in for their model through the
broker, run a shell command and change a file of the working directory."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "system"))
from harness import KEY, ROOT, SystemTest, free_port, main, run_on_terminal, wait_for  # noqa: E402

FOLDER = pathlib.Path(os.environ.get("AGENTVAULT_AGENTS", ROOT / "build/agents"))
PACKAGES = {"private": True, "dependencies": {"@anthropic-ai/claude-code": "*", "@openai/codex": "*"}}
COMMAND = "echo from-inside > made.txt; cat /proc/1/comm > first.txt; touch ~/.bashrc2 || true"


def problem():
    """Why there are no agents; None when they are there."""
    if (FOLDER / "node_modules/.bin/claude").exists():
        return None
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "package.json").write_text(json.dumps(PACKAGES))
    try:
        done = subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=FOLDER, capture_output=True, text=True, timeout=400)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr[-300:]


def events(handler, named):
    handler.start_chunked([("Content-Type", "text/event-stream")])
    for name, data in named:
        handler.chunk(f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode())
    handler.wfile.write(b"0\r\n\r\n")


def anthropic(handler, body):
    """The Messages API: a shell command first, then a word."""
    request = json.loads(body)
    if not request.get("stream"):
        return handler.answer(200, json.dumps({"id": "m", "type": "message", "role": "assistant", "model": request.get("model", "x"), "stop_reason": "end_turn",
                                               "stop_sequence": None, "content": [{"type": "text", "text": "ok"}],
                                               "usage": {"input_tokens": 1, "output_tokens": 1}}).encode(), [("Content-Type", "application/json")])
    tools = {tool["name"] for tool in request.get("tools", [])}
    finished = "tool_result" in json.dumps(request["messages"])
    if "Bash" in tools and not finished:
        block = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps({"command": COMMAND, "description": "make a file"})}
    else:
        block, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": "stand-in is done"}
    events(handler, [
        ("message_start", {"message": {"id": "m", "type": "message", "role": "assistant", "model": request["model"], "content": [], "stop_reason": None,
                                       "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}}),
        ("content_block_start", {"index": 0, "content_block": block}), ("content_block_delta", {"index": 0, "delta": delta}),
        ("content_block_stop", {"index": 0}),
        ("message_delta", {"delta": {"stop_reason": "tool_use" if block["type"] == "tool_use" else "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 1}}),
        ("message_stop", {})])


def openai(handler, body):
    """The Responses API, likewise."""
    request = json.loads(body)
    finished = "function_call_output" in json.dumps(request["input"])
    names = [tool.get("name") or tool.get("type") for tool in request.get("tools", [])]
    shell = next((name for name in ("exec_command", "shell_command", "shell", "local_shell") if name in names), None)
    if shell and not finished:
        arguments = {"cmd": COMMAND} if shell == "exec_command" else {"command": COMMAND if shell == "shell_command" else ["sh", "-c", COMMAND]}
        item = {"type": "function_call", "id": "f1", "call_id": "call_1", "name": shell, "arguments": json.dumps(arguments)}
    else:
        item = {"type": "message", "id": "m1", "role": "assistant", "content": [{"type": "output_text", "text": "stand-in is done"}]}
    response = {"id": "r1", "object": "response", "status": "completed", "output": [item],
                "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2, "input_tokens_details": None, "output_tokens_details": None}}
    events(handler, [("response.created", {"response": {"id": "r1"}}), ("response.output_item.done", {"output_index": 0, "item": item}),
                     ("response.completed", {"response": response})])


class InProject(SystemTest):
    def setUp(self):
        super().setUp()
        place = "/home" if os.geteuid() == 0 else str(ROOT / "build")
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="agents-", dir=place))
        self.addCleanup(shutil.rmtree, self.base, True)
        self.project = self.base / "home/project"
        self.project.mkdir(parents=True)
        subprocess.run(["git", "init", "-q", self.project], check=True)
        self.server, self.v = self.upstream(), self.vault()
        self.v.environment.update(HOME=str(self.base / "home"), TERM="xterm-256color")
        for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "TMPDIR", "CI"):
            self.v.environment.pop(name, None)

    def inside(self, script, *options):
        return self.v.run("exec", "-q", "--isolation", "strict", *options, "--", "sh", "-c", script, cwd=self.project)


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
        self.assertEqual((self.project / "made.txt").read_text(), "from-inside\n")
        self.assertEqual((self.project / "first.txt").read_text(), "agentvault\n")  # it was in a namespace of ours
        self.assertFalse((self.base / "home/.bashrc2").exists())
        self.assertIn(KEY, str([value for request in self.server.requests for _, value in request["headers"]]))
        self.assertNotIn(KEY, output)

    def test_claude_code(self):
        self.server.routes["/v1/messages"] = anthropic
        self.ok(self.v.add("anthropic", "--url", self.server.url, "--ca-file", self.certificate.pem))
        self.check(*self.run_agent(FOLDER / "node_modules/.bin/claude", "-p", "make a file", "--allowedTools", "Bash"))
        self.assertTrue((self.base / "home/.claude").is_dir())

    def test_codex(self):
        self.server.routes["/v1/responses"] = openai
        self.ok(self.v.add("openai", "--url", self.server.url + "/v1", "--ca-file", self.certificate.pem))
        provider = ("sh", "-c", 'exec "$0" exec --sandbox danger-full-access -m gpt-5.1 -c model_provider=standin -c "model_providers.standin={name=\\"standin\\",'
                    'base_url=\\"$OPENAI_BASE_URL\\",env_key=\\"OPENAI_API_KEY\\",wire_api=\\"responses\\"}" "make a file"')
        (self.base / "home/.codex").mkdir()
        self.check(*self.run_agent(*provider, FOLDER / "node_modules/.bin/codex"))


if __name__ == "__main__":
    main()
