"""What the machine refuses a session costs at most the connection that met it."""
import base64
import threading
import time
from harness import LIMIT, SystemTest, distress, main, parse_response, read_until_closed

class DistressTest(SystemTest):
    def start(self, *options, policy=None):
        self.up = self.upstream()
        self.v = self.vault()
        if policy:
            (self.folder / "policy.toml").write_text(policy)
            self.ok(self.v.run("policy", "apply", self.folder / "policy.toml"))
        self.ok(self.v.add("api", "--url", self.up.url, "--ca-file", self.certificate.pem))
        self.switches = self.folder / "switches"
        self.switches.mkdir()
        self.s = self.session(self.v, "--isolation", "off", *options, env={**distress(self.switches), "MALLOC_PERTURB_": "165"})
        self.works()

    def works(self):
        self.assertEqual(self.s.request("GET", "/api/x")[0], 200)

    def switch(self, name, on):
        (self.switches / name).touch() if on else (self.switches / name).unlink()

    def later(self, seconds, name="later"):
        new = self.switches / "new"
        new.write_bytes(bytes(seconds))
        new.rename(self.switches / name)

    def closed_connections(self, count):
        for _ in range(count):
            with self.s.connect() as connection:
                self.assertEqual(read_until_closed(connection), b"")

    def test_connections_that_cannot_be_watched(self):
        self.start()
        self.switch("no-watches", True)
        self.closed_connections(20)
        self.switch("no-watches", False)
        self.works()
        self.later(400)
        for _ in range(3):
            self.works()
        self.assertEqual(self.s.stop(), 0)

    def test_a_command_and_a_lookup_that_cannot_be_watched(self):
        self.start("--egress", "open")
        self.switch("no-watches", True)
        self.v.run("sessions")
        self.switch("no-watches", False)
        self.works()
        basic = base64.b64encode(f"agentvault:{self.s.proxy_token}".encode()).decode()
        with self.s.connect() as connection:
            connection.sendall(f"GET http://no-such-name.invalid/ HTTP/1.1\r\nHost: no-such-name.invalid\r\nProxy-Authorization: Basic {basic}\r\n".encode())
            self.works()
            self.switch("no-watches", True)
            connection.sendall(b"Connection: close\r\n\r\n")
            self.assertEqual(parse_response(read_until_closed(connection))[0], 502)
        self.switch("no-watches", False)
        self.works()
        self.assertIn("api", self.ok(self.v.run("sessions")).out)
        self.assertEqual(self.s.stop(), 0)

    def test_upstreams_that_cannot_be_watched(self):
        self.start()
        # Taken before, so that only the way onwards fails; the connection that was kept is closed first.
        self.up.routes["/close"] = lambda handler, body: handler.answer(200, b"bye", [("Connection", "close")])
        self.s.request("GET", "/api/close")
        with self.s.connect() as connection:
            connection.sendall(f"GET /api/close HTTP/1.1\r\nHost: 127.0.0.1:{self.s.port}\r\nAuthorization: Bearer {self.s.token}\r\n".encode())
            self.s.request("GET", "/api/close")
            self.switch("no-watches", True)
            connection.sendall(b"Connection: close\r\n\r\n")
            self.assert_error(parse_response(read_until_closed(connection)), 502, "upstream_unreachable")
        self.switch("no-watches", False)
        self.works()

    def test_nothing_is_forwarded_that_could_not_be_written_down(self):
        self.start()
        go, begun = threading.Event(), threading.Event()
        self.addCleanup(go.set)
        def stream(handler, body):
            handler.start_chunked()
            handler.chunk(b"begun\n")
            begun.set()
            go.wait(LIMIT)
            handler.chunk(b"ended\n")
            handler.wfile.write(b"0\r\n\r\n")
        self.up.routes["/stream"] = stream
        head = lambda path: (f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.s.port}\r\nAuthorization: Bearer {self.s.token}\r\n"
                             "Connection: close\r\n\r\n").encode()
        with self.s.connect() as open_stream:
            open_stream.sendall(head("/api/stream"))
            self.assertTrue(begun.wait(LIMIT))
            # A connection to the upstream is kept, so that a request would go out in the turn of the loop that decides about it.
            self.works()
            before = len(self.up.requests)
            self.switch("full", True)
            connections = [self.s.connect() for _ in range(8)]
            for connection in connections:
                connection.sendall(head("/api/x"))
            for connection in connections:
                with connection:
                    self.assert_error(parse_response(read_until_closed(connection)), 503, "audit_failed")
            self.switch("full", False)
            # Half a line may be in the log: nothing is appended to it.
            self.assert_error(self.s.request("GET", "/api/x"), 503, "audit_failed")
            self.assertEqual(len(self.up.requests), before)
            # What was written down before goes on.
            go.set()
            self.assertIn(b"ended", read_until_closed(open_stream))

    def test_a_head_has_a_time_limit_of_its_own(self):
        self.start()
        with self.s.connect() as idle, self.s.connect() as slow:
            slow.sendall(b"GET /api/x HT")
            # Another one behind it: both were met.
            self.works()
            self.later(31)
            self.works()
            self.assertEqual(read_until_closed(slow), b"")
            idle.sendall(f"GET /api/x HTTP/1.1\r\nHost: 127.0.0.1:{self.s.port}\r\nAuthorization: Bearer {self.s.token}\r\nConnection: close\r\n\r\n".encode())
            self.assertEqual(parse_response(read_until_closed(idle))[0], 200)
        with self.s.connect() as idle:
            self.works()
            self.later(31 + 301)
            self.works()
            self.assertEqual(read_until_closed(idle), b"")

    def test_a_clock_that_is_set_back_revives_no_token(self):
        self.start()
        short = self.ok(self.v.run("token", "attenuate", self.s.token, "--lifetime", "10m")).out.strip()
        ask = lambda: self.s.request("GET", "/api/x", token=short)
        self.assertEqual(ask()[0], 200)
        self.later(11, "set-ahead")
        self.assert_error(ask(), 401, "token_expired")
        self.later(60, "set-back")
        self.assert_error(ask(), 401, "token_expired")
        # Nor does it make one live longer.
        other = self.ok(self.v.run("token", "attenuate", self.s.token, "--lifetime", "30m")).out.strip()
        self.assertEqual(self.s.request("GET", "/api/x", token=other)[0], 200)
        self.later(31 * 60)
        self.assert_error(self.s.request("GET", "/api/x", token=other), 401, "token_expired")

    def test_what_is_under_way_ends_with_its_hours(self):
        now = time.localtime()
        soon = (now.tm_hour * 60 + now.tm_min + 60) % 1440
        before = (soon + 1440 - 120) % 1440
        self.hours = f"{before // 60:02}:{before % 60:02}-{soon // 60:02}:{soon % 60:02}"
        self.start(policy=f'version = 1\n[[agents.default.rules]]\neffect = "allow"\nhours = "{self.hours}"\n')
        go = threading.Event()
        self.addCleanup(go.set)
        def route(handler, body):
            handler.start_chunked()
            handler.chunk(b"first\n")
            go.wait(LIMIT)
        self.up.routes["/stream"] = route
        with self.s.connect() as connection:
            connection.sendall(f"GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1:{self.s.port}\r\nAuthorization: Bearer {self.s.token}\r\n\r\n".encode())
            while b"first" not in connection.recv(65536):
                pass
            self.later(11)
            self.works()
            self.later(90, "set-ahead")
            self.later(22)
            self.s.request("GET", "/api/x")
            with self.assertRaises(ConnectionResetError):  # an orderly end could be taken for the end of the answer
                while connection.recv(65536):
                    pass
                raise ConnectionResetError
        self.assertIn("policy_denied", [e["ended"] for e in self.v.events() if e["event"] == "settled"])

    def test_a_socket_that_accepts_nobody(self):
        self.start()
        self.switch("no-accept", True)
        with self.s.connect() as waiting:
            waiting.sendall(f"GET /api/x HTTP/1.1\r\nHost: 127.0.0.1:{self.s.port}\r\nAuthorization: Bearer {self.s.token}\r\nConnection: close\r\n\r\n".encode())
            with self.s.connect():  # another one, so that the first was met
                self.switch("no-accept", False)
                self.assertEqual(parse_response(read_until_closed(waiting))[0], 200)


if __name__ == "__main__":
    main()
