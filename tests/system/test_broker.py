"""The broker between a raw client and a real TLS upstream: what passes, what is refused, and what the log says."""
import base64
import json
import os
import re
import socket
import threading
import time

from harness import KEY, LIMIT, ROOT, SHARED, SystemTest, main, parse_response, read_until_closed, wait_for

CHUNKED = b"Transfer-Encoding: chunked\r\n"


class BrokerTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.up = self.upstream()
        self.v, self.s = self.broker(self.up)

    def head(self, method, path, *lines, token=None):
        words = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.s.port}", f"Authorization: Bearer {token or self.s.token}"]
        return "\r\n".join([*words, *lines]).encode() + b"\r\n\r\n"

    def nothing_forwarded(self):
        self.assertEqual(self.up.requests, [])

    def decisions(self):
        return [e for e in self.v.events() if e["event"] == "decided"]

    # --- tokens

    def test_the_upstream_gets_the_key_and_the_agent_does_not(self):
        status, headers, body = self.s.request("POST", "/api/v1/x?y=1", headers=[("X-Mine", "kept")], body=b"hello")
        self.assertEqual(status, 200)
        self.assertEqual(self.up.header(0, "Authorization"), "Bearer " + KEY)
        self.assertEqual(self.up.header(0, "Host"), f"localhost:{self.up.port}")
        self.assertEqual(self.up.header(0, "X-Mine"), "kept")
        self.assertEqual(self.up.header(0, "Accept-Encoding"), "identity")
        self.assertEqual((self.up.requests[0]["path"], self.up.requests[0]["body"]), ("/v1/x?y=1", b"hello"))

    def test_every_accepted_place_of_a_token(self):
        token = self.s.token
        basic = lambda pair: "Basic " + base64.b64encode(pair.encode()).decode()
        for headers in ([("Authorization", f"token {token}")], [("Authorization", f"bearer {token}")], [("X-Api-Key", token)],
                        [("x-goog-api-key", token)], [("api-key", token)], [("Authorization", basic(f"user:{token}"))],
                        [("Authorization", basic(f"{token}:"))]):
            status, _, _ = self.s.request("GET", "/api/x", token="", headers=headers)
            self.assertEqual(status, 200, headers)
            sent = self.up.requests[-1]["headers"]
            self.assertEqual([v for k, v in sent if k.lower() == "authorization"], ["Bearer " + KEY])
            self.assertFalse([k for k, v in sent if token in v])

    def test_bad_tokens_are_401_with_a_challenge_and_forward_nothing(self):
        token = self.s.token
        cases = {"token_missing": [], "token_invalid": [("Authorization", "Bearer " + token[:-4] + "AAAA")],
                 "foreign_authorization": [("Authorization", "Bearer sk-mine")],
                 "two_tokens": [("Authorization", f"Bearer {token}"), ("X-Api-Key", token)]}
        for code, headers in cases.items():
            response = self.s.request("GET", "/api/x", token="", headers=headers)
            self.assert_error(response, 401, code)
            self.assertIn("Bearer", response[1]["www-authenticate"])
        for headers in ([("X-Api-Key", "sk-mine")], [("Authorization", "Basic " + base64.b64encode(b"a:b").decode())],
                        [("Authorization", "Basic !!!")], [("Authorization", "Digest x")], [("Authorization", "")],
                        [("Authorization", f"Bearer {token}"), ("X-Api-Key", "sk-mine")]):
            self.assert_error(self.s.request("GET", "/api/x", token="", headers=headers), 401, "foreign_authorization")
        for bad in ("agv_", "agv_" + "A" * 5000, "agv_%41", token + "x", token.upper()):
            self.assertEqual(self.s.request("GET", "/api/x", token=bad)[0], 401)
        self.nothing_forwarded()

    def test_a_token_of_another_session_is_refused(self):
        other = self.session(self.v)
        self.assert_error(self.s.request("GET", "/api/x", token=other.token), 401, "token_invalid")
        self.nothing_forwarded()

    def test_a_token_on_another_credentials_route_is_refused(self):
        self.ok(self.v.add("second", "--url", self.up.url, "--ca-file", self.certificate.pem, "--env", "SECOND"))
        session = self.session(self.v)
        own = session.environment["SECOND"]
        self.assertEqual(session.request("GET", "/second/x", token=own)[0], 200)
        self.assert_error(session.request("GET", "/api/x", token=own), 401, "token_other_credential")
        self.assertEqual(len(self.up.requests), 1)
        self.assert_error(session.request("GET", "/nobody/x", token=own), 404, "no_such_credential")

    def test_attenuated_tokens_do_less_and_the_log_names_the_chain(self):
        env = {"AGENTVAULT_TOKEN": self.s.token}
        narrow = self.ok(self.v.run("token", "attenuate", "--method", "GET", "--path", "/v1/**", "--agent-name", "scout", env=env)).out.strip()
        self.assertEqual(self.s.request("GET", "/api/v1/x", token=narrow)[0], 200)
        self.assert_error(self.s.request("POST", "/api/v1/x", token=narrow, body=b""), 403, "token_method")
        self.assert_error(self.s.request("GET", "/api/v2/x", token=narrow), 403, "token_path")
        again = self.ok(self.v.run("token", "attenuate", narrow, "--path", "/v2/**")).out.strip()
        self.assert_error(self.s.request("GET", "/api/v2/x", token=again), 403, "token_path")
        other = self.ok(self.v.run("token", "attenuate", narrow, "--credential", "other")).out.strip()
        self.assert_error(self.s.request("GET", "/api/v1/x", token=other), 401, "token_other_credential")
        short = self.ok(self.v.run("token", "attenuate", narrow, "--lifetime", "1s")).out.strip()
        self.assert_error(wait_for(lambda: (r := self.s.request("GET", "/api/v1/x", token=short))[0] == 401 and r, "the end of the token"), 401, "token_expired")
        inspected = json.loads(self.ok(self.v.run("token", "inspect", again, "--json")).out)
        self.assertIn("paths /v2/**", inspected["caveats"])
        self.assertIn("agent scout", inspected["caveats"])
        self.assertEqual(len([c for c in inspected["caveats"] if c.startswith("delegation")]), 2)
        chains = [e["chain"] for e in self.decisions() if e["decision"] == "allow"]
        self.assertIn("scout", chains[0])

    def test_token_commands_refuse_what_is_no_token(self):
        self.refused(self.v.run("token", "inspect", "sk-x"), 2, "not a token", "agv_")
        self.refused(self.v.run("token", "attenuate", self.s.token[:-1]), 2, "not a token", "agv_")
        self.refused(self.v.run("token", "inspect"), 2, "no token given", "agentvault exec")
        self.refused(self.v.run("token", "attenuate", self.s.token, "--path", "/../x"), 2, "not a path pattern", "/v1/models/*")
        self.refused(self.v.run("token", "attenuate", self.s.token, "--lifetime", "x"), 2, "not a duration", "15m")

    def test_a_stray_token_is_never_forwarded(self):
        token = self.s.token
        self.assert_error(self.s.request("GET", f"/api/x?t={token}"), 400, "token_misplaced")
        self.assert_error(self.s.request("GET", f"/api/{token}/x"), 400, "token_misplaced")
        self.assert_error(self.s.request("GET", "/api/x", headers=[("Cookie", f"a={token}")]), 400, "token_misplaced")
        self.assert_error(self.s.request("GET", f"/nobody/{token}/x%2f"), 404, "no_such_credential")
        self.nothing_forwarded()
        logged = "".join(file.read_text() for file in self.v.path.glob("audit/*/events.jsonl"))
        self.assertNotIn(token[4:40], logged)
        self.assertIn("/agv_.../x", logged)

    def test_an_open_stream_ends_with_its_token(self):
        go = threading.Event()
        self.addCleanup(go.set)
        def route(handler, body):
            handler.start_chunked()
            while not go.is_set():
                handler.chunk(b"tick\n")
                time.sleep(0.02)
        self.up.routes["/stream"] = route
        short = self.ok(self.v.run("token", "attenuate", self.s.token, "--lifetime", "1s")).out.strip()
        with self.s.connect() as connection:
            connection.sendall(self.head("GET", "/api/stream", token=short))
            data = read_until_closed(connection)
        self.assertIn(b"tick", data)
        self.assertFalse(data.endswith(b"0\r\n\r\n"))
        self.assertIn("the token expired", [e["ended"] for e in self.v.events() if e["event"] == "settled"])

    def test_a_decision_is_in_the_log_when_the_upstream_sees_its_request(self):
        seen = []
        def route(handler, body):
            seen.append([(e["path"], e["decision"]) for e in self.decisions()])
            handler.answer(200, b"ok")
        self.up.routes["/logged"] = route
        for number in range(1, 4):  # over a new connection, and over one that was kept
            self.assertEqual(self.s.request("GET", "/api/logged")[0], 200)
            self.assertEqual(seen[-1], [("/logged", "allow")] * number)

    def test_what_is_under_way_when_a_session_ends_is_in_the_log_before_its_end(self):
        begun = threading.Event()
        def route(handler, body):
            handler.start_chunked()
            handler.chunk(b"first\n")
            begun.set()
            handler.connection.recv(1)  # until the broker is gone
        self.up.routes["/slow"] = route
        with self.s.connect() as connection:
            connection.sendall(f"GET /api/slow HTTP/1.1\r\nHost: 127.0.0.1:{self.s.port}\r\nAuthorization: Bearer {self.s.token}\r\n\r\n".encode())
            self.assertTrue(begun.wait(LIMIT))
            self.assertEqual(self.s.stop(), 0)
        self.assertEqual([e["event"] for e in self.v.events()], ["session-began", "decided", "settled", "session-ended"])

    def test_impossible_tokens_do_not_end_the_session(self):
        for bad in ("agv_m3__________", "agv_hv" + "8" * 50, "agv_" + "m" * 4000):
            self.assertEqual(self.s.request("GET", "/api/x", token=bad)[0], 401)
        self.assertEqual(self.s.request("GET", "/api/x")[0], 200)

    def test_headers_that_would_steer_the_upstream_are_taken_out_also_from_trailers(self):
        names = ["X_HTTP_Method_Override", "X.HTTP.Method.Override", "X!Rewrite~URL", "X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Host", "Forwarded"]
        self.s.request("POST", "/api/x", headers=[(n, "evil") for n in names], body=b"")
        self.assertNotIn("evil", str(self.up.requests[0]["headers"]))
        def route(handler, body):
            self.trailers = handler.trailers
            handler.answer(200)
        self.up.routes["/t"] = route
        self.s.raw(self.head("POST", "/api/t", "Transfer-Encoding: chunked", "Connection: close") + b"0\r\nX-HTTP-Method-Override: DELETE\r\nX.HTTP.Method.Override: DELETE\r\nX-Api-Key: evil\r\nCookie: a\r\nRange: bytes=0-1\r\nX-MS-Range: bytes=0-1\r\nX-Fine: 1\r\n\r\n")
        self.assertEqual(self.trailers, ["X-Fine: 1"])

    def test_parts_of_an_answer_cannot_be_asked_for_by_any_name(self):
        self.s.request("GET", "/api/x", headers=[(n, "bytes=0-1") for n in ("Range", "If-Range", "Request-Range", "x-ms-range", "X_MS_Range", "X.Range")])
        self.assertNotIn("bytes=", str(self.up.requests[0]["headers"]))

    def test_no_head_goes_out_for_a_body_that_is_seen_to_be_malformed(self):
        for body in (b"zz\r\n", b"3\r\nabcX", b"3\r\nabc\r\n0\r\nbad trailer\r\n\r\n", b"1000000000000000000\r\n"):
            response = parse_response(self.s.raw(self.head("POST", "/api/x", "Transfer-Encoding: chunked") + body))
            self.assert_error(response, 400, "malformed_request")
        self.assertEqual(self.up.requests, [])
        self.assertEqual([e["reason"] for e in self.v.events() if e["event"] == "decided"], ["malformed_request"] * 4)

    # --- policy

    def test_preset_rules_hold_from_the_first_day(self):
        self.ok(self.v.add("openai", "--url", self.up.url + "/v1", "--ca-file", self.certificate.pem))
        session = self.session(self.v, "--with", "openai")
        self.assertEqual(session.request("POST", "/openai/v1/chat/completions", body=b"{}")[0], 200)
        self.assert_error(session.request("POST", "/openai/v1/organization/admin_api_keys", body=b"{}"), 403, "policy_denied")
        self.assert_error(session.request("DELETE", "/openai/v1/files/f"), 403, "policy_denied")
        self.assert_error(session.request("GET", "/openai/v2/models"), 403, "outside_base")
        self.assert_error(session.request("GET", "/openai/v1x/models"), 403, "outside_base")
        self.assertEqual(len(self.up.requests), 1)

    def test_method_overrides_are_taken_out(self):
        self.s.request("POST", "/api/x", headers=[("X-HTTP-Method-Override", "DELETE"), ("X-Method-Override", "PUT"), ("X-HTTP-Method", "PUT")], body=b"")
        self.assertFalse([k for k, _ in self.up.requests[0]["headers"] if "override" in k.lower() or "method" in k.lower()])

    def test_what_is_judged_is_what_is_forwarded(self):
        self.assertEqual(self.s.request("GET", "/api/%76%31/a%2bb?q=%2F")[0], 200)
        self.assertEqual(self.up.requests[0]["path"], "/v1/a%2Bb?q=%2F")
        for path in ("/api/../x", "/api/a/%2e%2e/x", "/api//x", "/api/a%2Fb", "/api/a%5cb", "/api/a;b", "/api/a\\b", "/api/../api/x"):
            self.assert_error(self.s.request("GET", path), 400, "bad_target")
        self.assertEqual(len(self.up.requests), 1)

    def test_other_hosts_and_other_forms_are_refused(self):
        raw = lambda line, host: parse_response(self.s.raw(f"{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAuthorization: Bearer {self.s.token}\r\n\r\n".encode()))
        own = f"127.0.0.1:{self.s.port}"
        self.assert_error(raw("GET /api/x", "evil.example"), 421, "misdirected")
        self.assert_error(raw("GET /api/x", f"127.0.0.1:{self.s.port + 1}"), 421, "misdirected")
        self.assert_error(raw("GET /%61pi/x", own), 404, "no_such_credential")
        self.assert_error(raw("CONNECT example.org:443", "example.org:443"), 407, "proxy_authorization")
        for line in ("OPTIONS *", "GET ftp://x/", "GET api/x", "GET http:///x", "CONNECT /api/x"):
            self.assert_error(raw(line, own), 400, "bad_target")
        self.assertEqual(self.up.requests, [])
        self.assertEqual(raw("GET /api/x", f"localhost:{self.s.port}")[0], 200)
        self.assertEqual(len(self.up.requests), 1)

    # --- framing

    def test_a_connection_serves_many_requests_also_pipelined_and_after_refusals(self):
        with self.s.connect() as connection:
            batch = (self.head("GET", "/api/1") + self.head("POST", "/api/2", "Content-Length: 3") + b"abc" +
                     self.head("GET", "/nobody/x") + self.head("POST", "/nobody/x", "Content-Length: 4") + b"body" +
                     self.head("POST", "/api/3", "Transfer-Encoding: chunked") + b"2\r\nhi\r\n0\r\n\r\n" + self.head("GET", "/api/4", "Connection: close"))
            connection.sendall(batch)
            data = read_until_closed(connection)
        self.assertEqual([int(part.split()[1]) for part in data.split(b"HTTP/1.1")[1:] for part in [b"x " + part.strip()]], [200, 200, 404, 404, 200, 200])
        self.assertEqual([(r["path"], r["body"]) for r in self.up.requests], [("/1", b""), ("/2", b"abc"), ("/3", b"hi"), ("/4", b"")])

    def test_bytes_that_arrive_one_by_one_make_the_same_request(self):
        with self.s.connect() as connection:
            for byte in self.head("POST", "/api/x", "Transfer-Encoding: chunked", "Connection: close") + b"3\r\nabc\r\n0\r\n\r\n":
                connection.sendall(bytes([byte]))
            self.assertEqual(parse_response(read_until_closed(connection))[0], 200)
        self.assertEqual(self.up.requests[0]["body"], b"abc")

    def test_ambiguous_requests_are_refused_closed_and_not_forwarded(self):
        start = f"POST /api/x HTTP/1.1\r\nHost: 127.0.0.1:{self.s.port}\r\nAuthorization: Bearer {self.s.token}\r\n".encode()
        for tail in (b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
                     b"Content-Length: 3, 3\r\n\r\nabc", b"Content-Length: +3\r\n\r\nabc", b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
                     b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", b"A: b\r\n folded\r\n\r\n", b"A: b\n\r\n", b"A: b\r\r\n\r\n", b"Host: x\r\n\r\n", b"\x00: b\r\n\r\n"):
            data = self.s.raw(start + tail + self.head("GET", "/api/smuggled"), half_close=True)
            self.assertIn(int(data.split()[1]), (400, 501), tail)
            self.assertEqual(data.count(b"HTTP/1.1 "), 1, tail)
        self.nothing_forwarded()

    def test_a_broken_chunked_body_cuts_the_request_off(self):
        for body in (b"5\r\nhelloX", b"z\r\n", b"5 \r\nhello\r\n0\r\n\r\n", b"5\nhello\r\n0\r\n\r\n"):
            data = self.s.raw(self.head("POST", "/api/x", "Transfer-Encoding: chunked") + body + self.head("GET", "/api/smuggled"), half_close=True)
            self.assertNotIn(b"smuggled", data)
            self.assertTrue(data == b"" or data.split()[1] == b"400", data)
        self.assertFalse([r for r in self.up.requests if r["body"] or "smuggled" in r["path"]])

    def test_a_request_that_is_cut_off_is_not_completed(self):
        self.s.raw(self.head("POST", "/api/x", "Content-Length: 10") + b"abc", half_close=True)
        self.assertEqual(self.s.request("GET", "/api/after")[0], 200)
        self.assertFalse([r for r in self.up.requests if r["body"] == b"abc"])

    def test_trailers_pass_in_both_directions(self):
        def route(handler, body):
            self.trailers = handler.trailers  # before the answer, which the test waits for
            handler.start_chunked([("Trailer", "X-Sum")])
            handler.chunk(b"data")
            handler.wfile.write(b"0\r\nX-Sum: 7\r\nX-Leak: " + KEY.encode() + b"\r\n\r\n")
        self.up.routes["/x"] = route
        data = self.s.raw(self.head("POST", "/api/x", "Transfer-Encoding: chunked", "Connection: close") + b"1\r\na\r\n0\r\nX-Client: 5\r\nAuthorization: Bearer x\r\n\r\n")
        self.assertIn(b"0\r\nX-Sum: 7\r\n", data)
        self.assertNotIn(KEY.encode(), data)
        self.assertEqual(self.trailers, ["X-Client: 5"])

    def test_expect_100_continue(self):
        with self.s.connect() as connection:
            connection.sendall(self.head("PUT", "/api/x", "Expect: 100-continue", "Content-Length: 5", "Connection: close"))
            self.assertEqual(connection.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n")
            connection.sendall(b"hello")
            self.assertEqual(parse_response(read_until_closed(connection))[0], 200)
        self.assertEqual(self.up.requests[0]["body"], b"hello")
        self.assertIsNone(self.up.header(0, "Expect"))
        refused = self.s.raw(self.head("PUT", "/nobody/x", "Expect: 100-continue", "Content-Length: 5"))
        self.assertTrue(refused.startswith(b"HTTP/1.1 404"))
        self.assertTrue(self.s.raw(self.head("PUT", "/api/x", "Expect: something", "Content-Length: 0", "Connection: close")).startswith(b"HTTP/1.1 417"))

    def test_head_responses_and_statuses_without_a_body(self):
        self.up.routes["/h"] = lambda handler, body: (handler.send_response(200), handler.send_header("Content-Length", "1000"), handler.end_headers())
        self.up.routes["/204"] = lambda handler, body: (handler.send_response(204), handler.end_headers())
        self.up.routes["/304"] = lambda handler, body: (handler.send_response(304), handler.end_headers())
        status, headers, body = self.s.request("HEAD", "/api/h")
        self.assertEqual((status, headers["content-length"], body), (200, "1000", b""))
        self.assertEqual(self.s.request("GET", "/api/204")[::2], (204, b""))
        self.assertEqual(self.s.request("GET", "/api/304")[::2], (304, b""))

    def test_http_1_0_clients_get_a_body_that_ends_with_the_connection(self):
        def route(handler, body):
            handler.start_chunked()
            handler.chunk(b"hello ")
            handler.chunk(b"world")
            handler.wfile.write(b"0\r\n\r\n")
        self.up.routes["/x"] = route
        data = self.s.raw(f"GET /api/x HTTP/1.0\r\nAuthorization: Bearer {self.s.token}\r\n\r\n".encode())
        self.assertNotIn(b"chunked", data)
        self.assertTrue(data.endswith(b"\r\n\r\nhello world"))

    def test_other_upgrades_are_dropped(self):
        self.assertEqual(self.s.request("GET", "/api/x", headers=[("Upgrade", "h2c"), ("HTTP2-Settings", "x")])[0], 200)
        self.assertIsNone(self.up.header(0, "Upgrade"))

    def test_hop_by_hop_fields_stay_on_their_hop(self):
        self.up.routes["/x"] = lambda handler, body: handler.answer(200, b"", [("Keep-Alive", "x"), ("Alt-Svc", "h3=x"), ("X-Fine", "1")])
        _, headers, _ = self.s.request("GET", "/api/x", headers=[("Connection", "close, x-mine"), ("X-Mine", "1"), ("TE", "gzip"), ("Proxy-Authorization", "Basic x")])
        self.assertFalse({"keep-alive", "alt-svc"} & set(headers))
        self.assertEqual(headers["x-fine"], "1")
        for name in ("X-Mine", "TE", "Proxy-Authorization", "Connection"):
            self.assertIsNone(self.up.header(0, name), name)

    # --- bodies

    def test_large_bodies_pass_both_ways(self):
        blob = os.urandom(8 << 20)
        self.up.routes["/echo"] = lambda handler, body: handler.answer(200, body)
        status, _, body = self.s.request("POST", "/api/echo", body=blob)
        self.assertEqual(status, 200)
        self.assertEqual(body, blob)

    def test_a_slow_reader_holds_the_upstream_back(self):
        sent = [0]
        def route(handler, body):
            handler.send_response(200)
            handler.send_header("Content-Length", str(256 << 20))
            handler.end_headers()
            try:
                while True:
                    handler.wfile.write(b"x" * 65536)
                    sent[0] += 65536
            except OSError:
                pass
        self.up.routes["/flood"] = route
        with self.s.connect() as connection:
            connection.sendall(self.head("GET", "/api/flood"))
            connection.recv(1000)
            def settled():
                before = sent[0]
                time.sleep(0.3)
                return before > 0 and sent[0] == before
            wait_for(settled, "the upstream to be held back")
            self.assertLess(sent[0], 64 << 20)
            resident = next(int(line.split()[1]) for line in open(f"/proc/{self.s.process.pid}/status") if line.startswith("VmRSS"))
            self.assertLess(resident, 512 << 10)  # kB; sanitizers take most of it

    def test_a_slow_upstream_holds_the_agent_back(self):
        release = threading.Event()
        def script(connection, head):
            release.wait(LIMIT)
        raw = self.raw_upstream(script)
        self.addCleanup(release.set)
        self.ok(self.v.add("slow", "--url", raw.url, "--ca-file", self.certificate.pem))
        session = self.session(self.v, "--with", "slow")
        with session.connect() as connection:
            connection.sendall(f"POST /slow/x HTTP/1.1\r\nHost: 127.0.0.1:{session.port}\r\nAuthorization: Bearer {session.token}\r\nContent-Length: {256 << 20}\r\n\r\n".encode())
            connection.settimeout(1)
            sent = 0
            with self.assertRaises(TimeoutError):
                while sent < 256 << 20:
                    sent += connection.send(b"x" * 65536)
            self.assertLess(sent, 64 << 20)

    # --- streams

    def test_every_sse_stream_arrives_unchanged_and_without_waiting(self):
        file = SHARED / "vectors/sse/streams.json"
        if not file.exists():
            self.skipTest(f"SKIPPED: {file} is absent")
        streams = json.loads(file.read_text())
        self.assertGreaterEqual(len(streams), 41)
        current = {}
        def route(handler, body):
            handler.start_chunked([("Content-Type", "text/event-stream")])
            for chunk in current["chunks"]:
                handler.chunk(chunk)
                # The next chunk leaves only after the client has everything that may be passed on by now.
                if not current["go"].acquire(timeout=LIMIT):
                    return
            handler.wfile.write(b"0\r\n\r\n")
        self.up.routes["/sse"] = route
        class Decoder:
            """The body of a chunked response, as far as it has come."""

            def __init__(self):
                self.wire, self.body, self.ended, self.in_head = b"", b"", False, True

            def feed(self, data):
                self.wire += data
                if self.in_head:
                    if b"\r\n\r\n" not in self.wire:
                        return
                    self.wire, self.in_head = self.wire.partition(b"\r\n\r\n")[2], False
                while b"\r\n" in self.wire and not self.ended:
                    size, _, rest = self.wire.partition(b"\r\n")
                    size = int(size, 16)
                    if len(rest) < size + 2:
                        return
                    self.ended = size == 0
                    self.body, self.wire = self.body + rest[:size], rest[size + 2:]

        for stream in streams:
            whole = b"".join(base64.b64decode(chunk) for chunk in stream["chunks_b64"])
            for size in (1, 2, len(whole) or 1):
                chunks = [whole[i:i + size] for i in range(0, len(whole), size)]
                current.update(chunks=chunks, go=threading.Semaphore(0))
                with self.s.connect() as connection:
                    connection.sendall(self.head("GET", "/api/sse", "Connection: close"))
                    seen, passed = Decoder(), b""
                    for chunk in chunks:
                        passed += chunk
                        # A secret may span chunks: the bytes behind the last control character wait, and nothing else.
                        tail = passed[-255:]
                        due = len(passed) - len(re.search(rb"[^\x00-\x1f\x7f]*\Z", tail).group())
                        while len(seen.body) < due:
                            got = connection.recv(65536)
                            self.assertTrue(got, stream["id"])
                            seen.feed(got)
                        current["go"].release()
                    seen.feed(read_until_closed(connection))
                self.assertEqual((seen.body, seen.ended), (whole, True), stream["id"])

    def test_an_event_is_passed_on_before_the_next_one_exists(self):
        go = threading.Semaphore(0)
        def route(handler, body):
            handler.start_chunked([("Content-Type", "text/event-stream")])
            for i in range(5):
                handler.chunk(f"data: {{\"i\": {i}}}\n\n".encode())
                go.acquire(timeout=LIMIT)
            handler.wfile.write(b"0\r\n\r\n")
        self.up.routes["/sse"] = route
        with self.s.connect() as connection:
            connection.sendall(self.head("GET", "/api/sse", "Connection: close"))
            data = b""
            for i in range(5):
                while f'"i": {i}}}\n\n'.encode() not in data:
                    data += connection.recv(4096)
                go.release()

    # --- scrubbing

    def test_a_reflected_key_is_taken_out_everywhere(self):
        def route(handler, body):
            handler.send_response(200)
            handler.send_header("X-Reflect", handler.headers["Authorization"])
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            for i in range(0, len(KEY), 3):
                handler.chunk(KEY[i:i + 3].encode())
            handler.chunk(b" and again " + KEY.encode() + b"\n")
            handler.wfile.write(b"0\r\n\r\n")
        self.up.routes["/reflect"] = route
        _, headers, body = self.s.request("GET", "/api/reflect")
        stars = "*" * len(KEY)
        self.assertEqual(headers["x-reflect"], "Bearer " + stars)
        self.assertEqual(body.decode(), f"{stars} and again {stars}\n")
        self.s.stop()
        settled = [e for e in self.v.events() if e["event"] == "settled"]
        self.assertEqual(settled[0]["scrubbed"], 3)
        self.assertIn("came back in a response", self.s.stderr)

    def test_a_credential_that_keeps_coming_back_is_suspended(self):
        self.up.routes["/reflect"] = lambda handler, body: handler.answer(200, KEY.encode())
        for _ in range(11):
            self.assertEqual(self.s.request("GET", "/api/reflect")[0], 200)
        self.assert_error(self.s.request("GET", "/api/x"), 403, "credential_suspended")
        self.assertEqual(len(self.up.requests), 11)

    # --- the log

    def test_the_log_names_every_decision_before_it_is_forwarded(self):
        seen = []
        self.up.routes["/x"] = lambda handler, body: (seen.append(len(self.decisions())), handler.answer(200, b"ok"))
        self.s.request("GET", "/api/x?secret=query")
        self.s.request("GET", "/nobody/x")
        self.s.raw(b"nonsense\r\n\r\n")
        self.assertEqual(seen, [1])
        self.s.stop()
        text = json.dumps(self.v.events())
        self.assertNotIn("secret=query", text)
        self.assertNotIn(self.s.token, text)
        schema = json.loads((ROOT / "schemas/audit-event.schema.json").read_text())
        shapes = {shape["properties"]["event"]["const"]: set(shape["required"]) for shape in schema["oneOf"]}
        for event in self.v.events():
            self.assertEqual(set(event), set(schema["required"]) | shapes[event["event"]])
        self.assertEqual([(e["decision"], e["reason"]) for e in self.decisions()],
                         [("allow", "rule 1 (allow)"), ("deny", "no_such_credential"), ("deny", "malformed_request")])
        self.assertEqual([e["seq"] for e in self.v.events()], list(range(len(self.v.events()))))
        settled = [e for e in self.v.events() if e["event"] == "settled"]
        self.assertEqual([(e["request"], e["status"], e["bytes_received"], e["ended"]) for e in settled], [(1, 200, 2, "complete")])


class UpstreamTest(SystemTest):
    """Upstreams that are down, wrong, or misbehave."""

    def start(self, url, *options):
        vault = self.vault()
        self.ok(vault.add("api", "--url", url, *options))
        return vault, self.session(vault)

    def raw(self, script, count=1):
        raw = self.raw_upstream(script)
        vault, session = self.start(raw.url, "--ca-file", self.certificate.pem)
        return raw, vault, session

    def test_an_upstream_that_is_down(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        _, session = self.start(f"https://localhost:{port}", "--ca-file", self.certificate.pem)
        self.assert_error(session.request("GET", "/api/x"), 502, "upstream_unreachable")

    def test_a_certificate_that_is_not_trusted_or_for_another_name(self):
        upstream = self.upstream()
        _, session = self.start(upstream.url)
        response = session.request("GET", "/api/x")
        self.assert_error(response, 502, "upstream_certificate")
        self.assertIn("--ca-file", json.loads(response[2])["error"]["hint"])
        self.assertEqual(upstream.requests, [])

    def test_a_certificate_for_another_name(self):
        from harness import Certificate, Upstream
        folder = self.folder / "other"
        folder.mkdir()
        other = Certificate(folder, "DNS:other.example")
        upstream = Upstream(other)
        self.addCleanup(upstream.stop)
        _, session = self.start(upstream.url, "--ca-file", other.pem)
        self.assert_error(session.request("GET", "/api/x"), 502, "upstream_certificate")
        self.assertEqual(upstream.requests, [])

    def test_a_name_that_does_not_resolve(self):
        _, session = self.start("https://no-such-host.invalid")
        self.assert_error(session.request("GET", "/api/x"), 502, "upstream_unreachable")

    def test_a_plain_http_server_is_no_upstream(self):
        def serve(server):
            with contextlib_suppress():
                while True:
                    connection, _ = server.accept()
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    connection.close()
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        _, session = self.start(f"https://localhost:{server.getsockname()[1]}", "--ca-file", self.certificate.pem)
        self.assertEqual(session.request("GET", "/api/x")[0], 502)

    def test_interim_responses_never_become_the_answer_of_the_next_request(self):
        def script(connection, head):
            for number in range(2):
                connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
                                   b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nanswer%d" % number)
                if number == 0:
                    connection.recv(65536)
        raw, _, session = self.raw(script)
        self.assertEqual(session.request("GET", "/api/0")[2], b"answer0")
        self.assertEqual(session.request("GET", "/api/1")[2], b"answer1")
        self.assertEqual(raw.accepted, 1)

    def test_a_connection_with_unread_bytes_is_not_used_again(self):
        def script(connection, head):
            name = head.split(b" ")[1][1:]
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + name + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
            connection.recv(65536)
        raw, _, session = self.raw(script)
        for name in "abc":
            self.assertEqual(session.request("GET", f"/api/{name}")[2], name.encode())
        self.assertEqual(raw.accepted, 3)

    def test_ambiguous_and_broken_responses_are_502(self):
        answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                   b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", b"nonsense\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
                   b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 20, b"", b"HTTP/1.1 200"]
        current = []
        def script(connection, head):
            connection.sendall(current[0])
        _, _, session = self.raw(script)
        for answer in answers:
            current[:] = [answer]
            self.assert_error(session.request("GET", "/api/x"), 502, "upstream_broken")

    def test_a_response_that_breaks_off_does_not_look_complete(self):
        current = []
        def script(connection, head):
            connection.sendall(current[0])
        _, vault, session = self.raw(script)
        for answer in (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                       b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX"):
            current[:] = [answer]
            data = session.raw(f"GET /api/x HTTP/1.1\r\nHost: 127.0.0.1:{session.port}\r\nAuthorization: Bearer {session.token}\r\n\r\n".encode())
            self.assertTrue(data.startswith(b"HTTP/1.1 200"))
            self.assertFalse(data.partition(b"\r\n\r\n")[2].endswith(b"0\r\n\r\n"))
        session.stop()
        self.assertTrue(all(e["ended"] == "upstream_broken" for e in vault.events() if e["event"] == "settled"))

    def test_a_body_without_length_ends_with_a_proper_close(self):
        def script(connection, head):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
        _, _, session = self.raw(script)
        self.assertEqual(session.request("GET", "/api/x")[2], b"until the end")

    def test_a_cut_without_close_notify_is_not_taken_for_the_end(self):
        def script(connection, head):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nhalf of")
            connection.detach_socket() if hasattr(connection, "detach_socket") else os.close(connection.detach())
        _, _, session = self.raw(script)
        data = session.raw(f"GET /api/x HTTP/1.1\r\nHost: 127.0.0.1:{session.port}\r\nAuthorization: Bearer {session.token}\r\n\r\n".encode())
        self.assertFalse(data.endswith(b"0\r\n\r\n"))

    def test_an_answer_before_the_request_ended_closes_both_sides(self):
        def script(connection, head):
            connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
            connection.recv(65536)
        raw, _, session = self.raw(script)
        with session.connect() as connection:
            connection.sendall(f"POST /api/x HTTP/1.1\r\nHost: 127.0.0.1:{session.port}\r\nAuthorization: Bearer {session.token}\r\nContent-Length: 1000\r\n\r\nabc".encode())
            data = read_until_closed(connection)
        self.assertEqual(parse_response(data)[0], 413)
        self.assertIn(b"Connection: close", data)
        self.assertEqual(session.request("GET", "/api/x")[0], 413)
        self.assertEqual(raw.accepted, 2)

    def test_connections_are_kept_and_a_stale_one_is_replaced(self):
        def script(connection, head):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")  # then closes, without having said so
        raw, _, session = self.raw(script)
        for _ in range(5):
            self.assertEqual(session.request("GET", "/api/x")[0], 200)
        self.assertEqual(len(raw.heads), 5)

    def test_a_body_that_was_ended_is_not_sent_again(self):
        heads = []
        def script(connection, head):
            heads.append(head)
            if head.startswith(b"GET"):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                heads.append(connection.recv(65536))  # takes the next request, and closes without an answer
        _, _, session = self.raw(script)
        self.assertEqual(session.request("GET", "/api/a")[0], 200)
        data = session.raw(f"PUT /api/b HTTP/1.1\r\nHost: 127.0.0.1:{session.port}\r\nAuthorization: Bearer {session.token}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode())
        self.assert_error(parse_response(data), 502, "upstream_broken")
        self.assertEqual(len(heads), 2)

    def test_kept_connections_are_not_shared_between_tokens(self):
        upstream = self.upstream()
        vault, session = self.start(upstream.url, "--ca-file", self.certificate.pem)
        other = self.ok(vault.run("token", "attenuate", session.token)).out.strip()
        for token in (session.token, session.token, other, other):
            self.assertEqual(session.request("GET", "/api/x", token=token)[0], 200)
        self.assertEqual(upstream.connections, 2)

    def test_an_agent_that_goes_away_ends_its_request(self):
        go = threading.Event()
        gone = threading.Event()
        def script(connection, head):
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            try:
                while not go.is_set():
                    connection.sendall(b"2\r\nx\n\r\n")
                    time.sleep(0.01)
            except OSError:
                gone.set()
        _, vault, session = self.raw(script)
        self.addCleanup(go.set)
        connection = session.connect()
        connection.sendall(f"GET /api/x HTTP/1.1\r\nHost: 127.0.0.1:{session.port}\r\nAuthorization: Bearer {session.token}\r\n\r\n".encode())
        connection.recv(100)
        connection.close()
        self.assertTrue(gone.wait(LIMIT))

    def test_private_addresses_are_refused_unless_named(self):
        # The hosts file gives this machine's own name a private or loopback address.
        name = socket.gethostname().lower()
        try:
            address = socket.gethostbyname(name)
        except OSError:
            self.skipTest("SKIPPED: this machine's name does not resolve")
        _, session = self.start(f"https://{name}:9", "--ca-file", self.certificate.pem)
        self.assert_error(session.request("GET", "/api/x"), 502, "address_refused")
        self.assertTrue(address)

    def test_a_metadata_address_is_never_dialled(self):
        _, session = self.start("https://169.254.169.254", "--ca-file", self.certificate.pem)
        self.assert_error(session.request("GET", "/api/x"), 502, "address_refused")


class InjectionTest(SystemTest):
    def inject(self, kind, *headers, path="/api/x", secret=KEY, token_place="bearer"):
        upstream = self.upstream()
        vault = self.vault()
        self.ok(vault.add("api", "--url", upstream.url, "--ca-file", self.certificate.pem, "--inject", kind, secret=secret))
        session = self.session(vault)
        token = session.token
        headers = [(k, v.replace("TOKEN", token)) for k, v in headers]
        status, _, _ = session.request("GET", path.replace("TOKEN", token), token="" if headers or "TOKEN" in path else None, headers=headers)
        self.assertEqual(status, 200)
        self.assertNotIn(token, json.dumps(upstream.requests, default=str))
        return upstream.requests[0]

    def value(self, request, name):
        return [v for k, v in request["headers"] if k.lower() == name.lower()]

    def test_bearer(self):
        self.assertEqual(self.value(self.inject("bearer"), "authorization"), ["Bearer " + KEY])

    def test_header(self):
        request = self.inject("header:X-Api-Key", ("X-Api-Key", "TOKEN"))
        self.assertEqual(self.value(request, "x-api-key"), [KEY])
        self.assertEqual(self.value(request, "authorization"), [])

    def test_header_with_a_template(self):
        request = self.inject("header:Authorization:Token token={}", ("Authorization", "Token token=TOKEN"))
        self.assertEqual(self.value(request, "authorization"), ["Token token=" + KEY])

    def test_header_while_the_client_sends_bearer(self):
        request = self.inject("header:Private-Token", ("Authorization", "Bearer TOKEN"))
        self.assertEqual(self.value(request, "private-token"), [KEY])
        self.assertEqual(self.value(request, "authorization"), [])

    def test_query(self):
        self.assertEqual(self.inject("query:key", path="/api/x?a=1&key=TOKEN&b=2")["path"], f"/x?a=1&b=2&key={KEY}")

    def test_query_that_held_nothing_else(self):
        self.assertEqual(self.inject("query:key", path="/api/x?key=TOKEN")["path"], f"/x?key={KEY}")

    def test_query_escapes_the_secret(self):
        self.assertEqual(self.inject("query:key", secret="a&b=c d+e/0123456789")["path"], "/x?key=a%26b%3Dc%20d%2Be%2F0123456789")

    def test_query_keys_in_disguise(self):
        upstream = self.upstream()
        vault = self.vault()
        self.ok(vault.add("api", "--url", upstream.url, "--ca-file", self.certificate.pem, "--inject", "query:key"))
        session = self.session(vault)
        self.assert_error(session.request("GET", "/api/x?%6Bey=mine"), 401, "foreign_authorization")
        self.assert_error(session.request("GET", "/api/x?a=1;key=mine"), 400, "bad_target")
        self.ok(vault.add("gemini", "--url", upstream.url, "--ca-file", self.certificate.pem))
        other = self.session(vault, "--with", "gemini")
        self.assert_error(other.request("GET", "/gemini/v1/models?key=mine"), 401, "foreign_authorization")
        self.assertEqual(other.request("GET", f"/gemini/v1/models?key={other.token}", token="")[0], 200)
        self.assertEqual(upstream.requests[-1]["path"], "/v1/models")
        self.assertEqual(upstream.header(-1, "X-Goog-Api-Key"), KEY)

    def test_basic_user(self):
        basic = base64.b64encode(f"{KEY}:".encode()).decode()
        self.assertEqual(self.value(self.inject("basic:user"), "authorization"), ["Basic " + basic])

    def test_basic_pass_keeps_the_clients_user(self):
        upstream = self.upstream()
        vault = self.vault()
        self.ok(vault.add("api", "--url", upstream.url, "--ca-file", self.certificate.pem, "--inject", "basic:pass"))
        session = self.session(vault)
        pair = base64.b64encode(f"AC123:{session.token}".encode()).decode()
        self.assertEqual(session.request("GET", "/api/x", token="", headers=[("Authorization", "Basic " + pair)])[0], 200)
        sent = base64.b64decode(upstream.header(0, "Authorization").split()[1]).decode()
        self.assertEqual(sent, "AC123:" + KEY)


def contextlib_suppress():
    import contextlib
    return contextlib.suppress(OSError)


if __name__ == "__main__":
    main()
