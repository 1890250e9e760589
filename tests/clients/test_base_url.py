"""Real clients, unmodified, that read a base URL: SDKs from npm, curl, httpx. Prints a table: client x mode x result."""
import json
import pathlib
import shutil
import subprocess
import unittest

import modules

from harness import KEY, SystemTest

HERE = pathlib.Path(__file__).resolve().parent


def chat(handler, body):
    request = json.loads(body)
    if not request.get("stream"):
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "stand-in",
                  "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello back"}}]}
        return handler.answer(200, json.dumps(answer).encode(), [("Content-Type", "application/json")])
    handler.start_chunked([("Content-Type", "text/event-stream")])
    for word in ("hello", " in", " parts"):
        part = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "stand-in",
                "choices": [{"index": 0, "delta": {"content": word}}]}
        handler.chunk(b"data: " + json.dumps(part).encode() + b"\n\n")
    handler.chunk(b"data: [DONE]\n\n")
    handler.wfile.write(b"0\r\n\r\n")


def messages(handler, body):
    request = json.loads(body)
    message = {"id": "m", "type": "message", "role": "assistant", "model": "stand-in", "stop_reason": None, "stop_sequence": None,
               "usage": {"input_tokens": 1, "output_tokens": 1}}
    if not request.get("stream"):
        message.update(content=[{"type": "text", "text": "hello back"}], stop_reason="end_turn")
        return handler.answer(200, json.dumps(message).encode(), [("Content-Type", "application/json")])
    events = [{"type": "message_start", "message": {**message, "content": []}},
              {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}]
    events += [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in ("hello", " in", " parts")]
    events += [{"type": "content_block_stop", "index": 0}, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
               {"type": "message_stop"}]
    handler.start_chunked([("Content-Type", "text/event-stream")])
    for event in events:
        handler.chunk(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    handler.wfile.write(b"0\r\n\r\n")


class ClientTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.up = self.upstream()
        self.up.routes.update({"/v1/chat/completions": chat, "/v1/messages": messages})
        self.v = self.vault()
        for name in ("openai", "anthropic"):
            self.ok(self.v.add(name, "--url", self.up.url + "/v1", "--ca-file", self.certificate.pem))

    def run_client(self, name, *command, env=None):
        result = self.v.run("exec", "-q", "--", *command, env=env or {})
        self.ok(result)
        self.assertNotIn(KEY, result.out + result.err)
        lines = dict(line.split(": ", 1) for line in result.out.splitlines() if ": " in line)
        for mode, text in lines.items():
            modules.note(name, "base URL, " + mode, text)
        return lines

    def node(self, script):
        if why := modules.problem():
            self.skipTest("SKIPPED: the SDKs cannot be installed: " + why)
        shutil.copy(HERE / script, modules.FOLDER)
        return [modules.NODE, modules.FOLDER / script]

    def keys_seen(self, header):
        return {dict((k.lower(), v) for k, v in r["headers"]).get(header) for r in self.up.requests}

    def test_openai_sdk(self):
        lines = self.run_client("openai (npm)", *self.node("openai.mjs"))
        self.assertEqual(lines, {"plain": "hello back", "stream": "hello in parts", "denied": "403 policy_denied"})
        self.assertEqual(self.keys_seen("authorization"), {"Bearer " + KEY})

    def test_anthropic_sdk(self):
        lines = self.run_client("@anthropic-ai/sdk (npm)", *self.node("anthropic.mjs"))
        self.assertEqual(lines, {"plain": "hello back", "stream": "hello in parts"})
        self.assertEqual(self.keys_seen("x-api-key"), {KEY})
        self.assertEqual(self.keys_seen("authorization"), {None})

    def test_httpx(self):
        if subprocess.run(["/usr/bin/python3", "-c", "import httpx"], capture_output=True).returncode != 0:
            self.skipTest("SKIPPED: python3-httpx is not installed")
        lines = self.run_client("python3-httpx", "/usr/bin/python3", HERE / "httpx_client.py")
        self.assertEqual(lines, {"plain": "hello back", "stream": "hello in parts", "denied": "403"})

    def test_curl(self):
        script = ('curl -sS -H "Authorization: Bearer $OPENAI_API_KEY" -H "Content-Type: application/json" -d "{}" "$OPENAI_BASE_URL/chat/completions" '
                  '| grep -o "hello back" | sed "s/^/plain: /"; '
                  'head -c 3000000 /dev/zero | curl -sS -o /dev/null -w "upload: %{http_code}\\n" -H "Authorization: Bearer $OPENAI_API_KEY" --data-binary @- "$OPENAI_BASE_URL/files"; '
                  'curl -sS -o /dev/null -w "basic: %{http_code}\\n" -u "user:$OPENAI_API_KEY" "$OPENAI_BASE_URL/models"; '
                  'curl -sS -o /dev/null -w "none: %{http_code}\\n" "$OPENAI_BASE_URL/models"')
        lines = self.run_client("curl", "sh", "-c", script)
        self.assertEqual(lines, {"plain": "hello back", "upload": "200", "basic": "200", "none": "401"})
        self.assertEqual(len([r for r in self.up.requests if len(r["body"]) == 3000000]), 1)

    def test_curl_reaches_the_broker_although_a_proxy_is_set(self):
        lines = self.run_client("curl, proxy set", "sh", "-c",
                                'curl -sS -o /dev/null -w "plain: %{http_code}\\n" -H "Authorization: Bearer $OPENAI_API_KEY" "$OPENAI_BASE_URL/models"',
                                env={"http_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"})
        self.assertEqual(lines, {"plain": "200"})


if __name__ == "__main__":
    unittest.main(verbosity=1)
