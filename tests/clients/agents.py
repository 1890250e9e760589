"""Real coding agents, and stand-ins for the models that they talk to: these ask for a shell command first, and then say
that they are done."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import modules  # noqa: F401 (finds the harness)

from harness import KEY, ROOT, SystemTest

FOLDER = pathlib.Path(os.environ.get("AGENTVAULT_AGENTS", ROOT / "build/agents"))
PACKAGES = {"private": True, "dependencies": {"@anthropic-ai/claude-code": "2.1.197", "@openai/codex": "0.171.0"}}
COMMAND = "echo from-inside > made.txt; readlink /proc/self/ns/pid > first.txt; touch ~/.bashrc2 || true"


def problem():
    """Why there are no agents; None when they are there."""
    wanted, place = json.dumps(PACKAGES), FOLDER / "package.json"
    if (FOLDER / "node_modules/.bin/claude").exists() and place.read_text() == wanted:
        return None
    FOLDER.mkdir(parents=True, exist_ok=True)
    place.write_text(wanted)
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

    def check_what_the_agent_did(self, server):
        self.assertEqual((self.project / "made.txt").read_text(), "from-inside\n")
        self.assertNotEqual((self.project / "first.txt").read_text().strip(), os.readlink("/proc/self/ns/pid"))  # it was in a namespace of ours
        self.assertFalse((self.base / "home/.bashrc2").exists())
        self.assertIn(KEY, str([value for request in server.requests for _, value in request["headers"]]))
