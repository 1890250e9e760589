"""What attacks on the broker found: each was once a crash, a leak of memory, or a request that the log did not show."""
import base64
import contextlib
import json
import os
import re
import resource
import socket
import ssl
import struct
import subprocess
import sys
import threading

import tls13_records
from harness import KEY, LIMIT, SystemTest, main, parse_response, read_until_closed, wait_for
from test_websocket import proof, header, server_frame

try:
    import cryptography  # noqa: F401
    HAVE_RECORDS = True
except ImportError:
    HAVE_RECORDS = False


class HostileTest(SystemTest):
    def start(self, *options):
        self.up = self.upstream()
        self.v, self.s = self.broker(self.up, *options)

    def alive(self, s=None):
        s = s or self.s
        self.assertIsNone(s.process.poll(), "the session died")
        self.assertEqual(s.request("GET", "/nobody/x")[0], 404)

    def test_a_target_that_is_a_scheme_and_nothing_else(self):
        self.start()
        for target in ("http", "https", "http:", "http:/", "HTTP", "://", "http://", "https://", "https:///", "http://:80/", "*", "x", "?"):
            for method in ("GET", "CONNECT"):
                data = self.s.raw(f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                self.assertIn(parse_response(data)[0], (400, 404, 421), target)
        self.alive()

    # --- TLS messages cut in two

    def test_an_agent_that_sends_half_a_tls_message_while_it_is_answered(self):
        if not HAVE_RECORDS:
            self.skipTest("SKIPPED: python3-cryptography is not installed")
        self.start()
        go = threading.Event()
        def route(handler, body):
            handler.start_chunked()
            handler.chunk(b"first\n")
            go.wait(LIMIT)
            handler.chunk(b"last\n")
            handler.wfile.write(b"0\r\n\r\n")
        self.up.routes["/s"] = route
        target, log = f"localhost:{self.up.port}", self.folder / "keys"
        context = ssl.create_default_context(cafile=self.s.environment["SSL_CERT_FILE"])
        context.keylog_filename = str(log)
        with context.wrap_socket(self.s.tunnel(target)[1], server_hostname="localhost") as tls:
            raw = socket.socket(fileno=os.dup(tls.fileno()))
            records = tls13_records.Records(raw, tls.cipher()[0], log, tls13_records.CLIENT)
            records.send(f"GET /s HTTP/1.1\r\nHost: {target}\r\nAuthorization: Bearer {self.s.token}\r\n\r\n".encode())
            data = b""
            while b"first" not in data:
                data += tls.recv(4096)
            records.send(tls13_records.HALF_A_KEY_UPDATE, tls13_records.HANDSHAKE)
            self.alive()
            go.set()
            settled = wait_for(lambda: [e for e in self.v.events() if e["event"] == "settled"], "the outcome in the log")
            self.assertEqual(settled[0]["status"], 200)
            # The other half: what waited is delivered.
            records.send(b"\0", tls13_records.HANDSHAKE)
            while b"last" not in data:
                data += tls.recv(4096)
            raw.close()
        self.alive()

    # --- what the log shows is what the upstream sees

    def test_a_body_that_was_read_for_another_credential_s_sake_is_sent_on(self):
        self.up = self.upstream()
        self.v = self.vault()
        self.ok(self.v.add("inbody", "--url", self.up.url, "--ca-file", self.certificate.pem, "--inject", "body:/api_key"))
        self.ok(self.v.add("bear", "--url", self.up.url, "--ca-file", self.certificate.pem, "--env", "BEAR_KEY", secret="sk-other-" + "z" * 20))
        s = self.session(self.v)
        target, token = f"localhost:{self.up.port}", s.environment["BEAR_KEY"]
        body = json.dumps({"a": "x" * 400}).encode()
        for framing in (f"Content-Length: {len(body)}", "Transfer-Encoding: chunked"):
            sent = body if "Length" in framing else b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            with s.inside(s.tunnel(target)[1], "localhost") as tls:
                tls.sendall(f"POST /one HTTP/1.1\r\nHost: {target}\r\nAuthorization: Bearer {token}\r\n{framing}\r\nConnection: close\r\n\r\n".encode() + sent)
                self.assertEqual(parse_response(read_until_closed(tls))[0], 200)
            self.assertEqual((self.up.requests[-1]["path"], self.up.requests[-1]["body"]), ("/one", body))
        self.assertEqual(len(self.up.requests), 2)

    def test_a_prohibition_holds_for_escaped_slashes_too(self):
        presets = self.folder / "config/agentvault/providers"
        presets.mkdir(parents=True)
        self.up = self.upstream()
        (presets / "names.toml").write_text(f'name="names"\ntitle="N"\ndocumentation="https://x/"\norigin="{self.up.url}"\nopaque_slashes=true\n'
                                            '[[rules]]\neffect="allow"\nmethods=["GET"]\npaths=["/*","/*/*"]\n[[rules]]\neffect="deny"\nmethods=["*"]\npaths=["/-/tokens","/-/user/**"]\n')
        self.v = self.vault()
        self.v.environment["XDG_CONFIG_HOME"] = str(self.folder / "config")
        self.ok(self.v.add("names", "--ca-file", self.certificate.pem))
        s = self.session(self.v)
        for path in ("/-/tokens", "/-%2Ftokens", "/-%2ftokens", "/-%2Fuser%2Fx", "/-/user%2Fx", "/-%2Fuser/x"):
            self.assertEqual(s.request("GET", "/names" + path)[0], 403, path)
        for path in ("/x%2F..%2F-%2Ftokens", "/x/..%2F-%2Ftokens", "/-%2F.%2Ftokens", "/-%2F%2Ftokens", "/-%2Ftokens%2F"):
            self.assert_error(s.request("GET", "/names" + path), 400, "bad_target")
        self.assertEqual(s.request("GET", "/names/@scope%2Fname")[0], 200)
        self.assertEqual(self.up.requests[-1]["path"], "/@scope%2Fname")
        narrow = self.ok(self.v.run("token", "attenuate", s.token, "--path", "/*")).out.strip()
        self.assertEqual(s.request("GET", "/names/a%2Fb", token=narrow)[0], 403)
        self.assertEqual(s.request("GET", "/names/a", token=narrow)[0], 200)

    def test_connect_inside_a_tunnel(self):
        self.start()
        target = f"localhost:{self.up.port}"
        with self.s.inside(self.s.tunnel(target)[1], "localhost") as tls:
            for inner in ("/x", target, "plain.example:80"):
                tls.sendall(f"CONNECT {inner} HTTP/1.1\r\nHost: {target}\r\nAuthorization: Bearer {self.s.token}\r\n\r\n".encode())
                head = b""
                while b"}}" not in head:
                    head += tls.recv(4096)
                self.assertIn(b"400 Bad Request", head)
        self.assertEqual(self.up.requests, [])

    # --- tokens and secrets

    def test_a_token_inside_basic_authorization_goes_to_no_plain_host(self):
        plain = self.upstream(tls=False)
        self.up = self.upstream()
        self.v = self.vault()
        self.ok(self.v.add("api", "--url", self.up.url, "--ca-file", self.certificate.pem))
        s = self.session(self.v, "--egress", f"localhost:{plain.port}")
        basic = lambda pair: base64.b64encode(pair.encode()).decode()
        for name, value in (("Authorization", "Basic " + basic(f"x:{s.token}")), ("X-Other", "Basic " + basic(f"{s.token}:")), ("Cookie", "a=" + s.token.replace("_", "%5F", 1)),
                            ("X-Plain", s.token), ("Authorization", "Bearer " + s.token)):
            data = s.raw((f"GET http://localhost:{plain.port}/ HTTP/1.1\r\nHost: localhost:{plain.port}\r\nConnection: close\r\n"
                          f"Proxy-Authorization: Basic {basic('a:' + s.proxy_token)}\r\n{name}: {value}\r\n\r\n").encode())
            self.assert_error(parse_response(data), 403, "token_misplaced")
        self.assertEqual(plain.requests, [])

    def test_a_secret_cannot_be_asked_for_in_slices(self):
        self.start()
        self.s.request("GET", "/api/x", headers=[("Range", "bytes=0-9"), ("If-Range", "x")])
        self.assertIsNone(self.up.header(0, "Range"))
        self.assertIsNone(self.up.header(0, "If-Range"))

    def test_four_letters_are_no_token_and_a_token_in_a_trailer_is(self):
        self.start()
        self.assertEqual(self.s.request("GET", "/api/agv_driver?q=agv_x", headers=[("Cookie", "a=Zm9vagv_YmFy")])[0], 200)
        self.assertEqual(self.s.request("GET", "/api/x?q=" + self.s.token)[0], 400)
        seen = []
        self.up.routes["/t"] = lambda handler, body: (seen.extend(handler.trailers), handler.answer(200, b"ok"))
        line = f"POST /api/t HTTP/1.1\r\nHost: 127.0.0.1:{self.s.port}\r\nAuthorization: Bearer {self.s.token}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        escaped = self.s.token.replace("_", "%5F", 1)
        self.s.raw(line.encode() + f"1\r\nx\r\n0\r\nX-{self.s.token}: 1\r\nX-A: {escaped}\r\nX-Fine: 2\r\n\r\n".encode())
        self.assertEqual(seen, ["X-Fine: 2"])

    # --- memory

    def peak(self):
        """KiB that the broker has held at most."""
        return int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{self.s.process.pid}/status").read())[1])

    def test_who_does_not_read_is_not_listened_to(self):
        self.start()
        with self.s.connect() as connection:
            connection.settimeout(3)
            request = f"GET /nobody HTTP/1.1\r\nHost: 127.0.0.1:{self.s.port}\r\nX: {'x' * 200}\r\n\r\n".encode() * 100
            sent = 0
            with self.assertRaises(TimeoutError):
                while sent < 60_000_000:
                    sent += connection.send(request)
            self.assertLess(len(self.v.events()), 20_000)
        self.alive()

    def test_frames_that_say_nothing_without_end(self):
        def script(connection, head):
            connection.sendall(f"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {proof(header(head, b'Sec-WebSocket-Key'))}\r\n\r\n".encode())
            connection.sendall(server_frame(b"a", 1, False))
            for _ in range(1000):
                connection.sendall(b"\0\0" * 50_000)
        self.up = self.raw_upstream(script)
        self.v, self.s = self.broker(self.up)
        before = self.peak()
        with self.s.connect() as connection:
            connection.sendall(f"GET /api/x HTTP/1.1\r\nHost: 127.0.0.1:{self.s.port}\r\nAuthorization: Bearer {self.s.token}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(b'0' * 16).decode()}\r\n\r\n".encode())
            self.assertIn(b"101", read_until_closed(connection))
        self.assertLess(self.peak() - before, 100_000)
        self.alive()

    # --- ordinary clients

    def test_pipelined_requests_of_a_client_that_has_ended_its_side(self):
        self.start()
        request = f"GET /api/%d HTTP/1.1\r\nHost: 127.0.0.1:{self.s.port}\r\nAuthorization: Bearer {self.s.token}\r\n\r\n"
        data = self.s.raw("".join(request % i for i in range(3)).encode(), half_close=True)
        self.assertEqual(data.count(b"HTTP/1.1 200"), 3)
        # Also when its answers are more than it can be told at once.
        self.up.routes["/large"] = lambda handler, body: handler.answer(200, b"x" * 300_000)
        large = request.replace("/api/%d", "/api/large")
        self.assertEqual(self.s.raw((large * 5).encode(), half_close=True).count(b"HTTP/1.1 200"), 5)

    def test_a_body_of_a_client_that_has_ended_its_side(self):
        self.start()
        head = f"POST /api/x HTTP/1.1\r\nHost: 127.0.0.1:{self.s.port}\r\nAuthorization: Bearer {self.s.token}\r\n"
        for rest in ("Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"):
            self.assertEqual(parse_response(self.s.raw((head + rest).encode(), half_close=True))[0], 200)
            self.assertEqual(self.up.requests[-1]["body"], b"hello")
        self.assertEqual(self.s.raw((head + "Content-Length: 6\r\n\r\nhello").encode(), half_close=True), b"")
        self.alive()

    def test_http_1_0_with_keep_alive_is_answered_and_closed(self):
        self.start()
        data = self.s.raw(f"GET /api/x HTTP/1.0\r\nConnection: keep-alive\r\nAuthorization: Bearer {self.s.token}\r\n\r\n".encode())
        self.assertIn(b"Connection: close", data)

    def test_connect_with_an_empty_body_and_a_rooted_name(self):
        self.start()
        self.assertEqual(self.s.tunnel(f"localhost:{self.up.port}", extra="Content-Length: 0\r\n")[0], 200)
        self.assertEqual(self.s.tunnel(f"localhost:{self.up.port}", extra="Content-Length: 1\r\n")[0], 400)
        self.assertEqual(self.s.tunnel(f"localhost.:{self.up.port}")[0], 200)


class SharesTest(SystemTest):
    """Whoever opens connections shuts nobody out."""

    def setUp(self):
        super().setUp()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < 8192:
            self.skipTest("SKIPPED: no room for as many connections as a session takes")
        resource.setrlimit(resource.RLIMIT_NOFILE, (8192, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        self.up = self.upstream()
        self.v, self.s = self.broker(self.up)

    def open(self, count, data):
        connections = []
        for _ in range(count):
            connection = self.s.connect()
            self.addCleanup(connection.close)
            connection.sendall(data)
            connections.append(connection)
        return connections

    def test_the_oldest_connection_without_a_request_under_way_goes(self):
        for data in (b"", b"GET /api/x HTT"):
            opened = self.open(1100, data)
            self.assertEqual(self.s.request("GET", "/api/x")[0], 200)
            opened[0].settimeout(LIMIT)
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(opened[0].recv(1), b"")
            for connection in opened:
                connection.close()

    def test_a_request_under_way_stays(self):
        go = threading.Event()
        self.up.routes["/slow"] = lambda handler, body: (go.wait(LIMIT), handler.answer(200, b"late"))
        slow = self.open(1, f"GET /api/slow HTTP/1.1\r\nHost: 127.0.0.1:{self.s.port}\r\nAuthorization: Bearer {self.s.token}\r\n\r\n".encode())[0]
        wait_for(lambda: self.up.requests, "the request")
        self.open(1100, b"")
        go.set()
        slow.settimeout(LIMIT)
        self.assertIn(b"200 OK", slow.recv(100))

    def test_a_sub_agent_has_a_share_of_what_is_under_way(self):
        go, self.waiting = threading.Event(), 0
        self.addCleanup(go.set)
        def route(handler, body):
            self.waiting += 1
            go.wait(LIMIT)
            handler.answer(200, b"late")
        self.up.routes["/slow"] = route
        token = self.ok(self.v.run("token", "attenuate", self.s.token, "--path", "/**")).out.strip()
        deeper = self.ok(self.v.run("token", "attenuate", token, "--path", "/**")).out.strip()
        head = lambda token: f"GET /api/slow HTTP/1.1\r\nHost: 127.0.0.1:{self.s.port}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        self.open(256, head(token))
        wait_for(lambda: self.waiting == 256, "requests of the sub-agent")
        for again in (token, deeper):
            self.assert_error(self.s.request("GET", "/api/x", again), 429, "too_many_at_once")
        self.assertEqual(self.s.request("GET", "/api/x")[0], 200)
        go.set()
        wait_for(lambda: self.s.request("GET", "/api/x", token)[0] == 200, "room again")


if __name__ == "__main__":
    main()
