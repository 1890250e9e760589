"""Budgets: counted before anything is forwarded, shared by an agent's sessions, never given back by a kill."""
import concurrent.futures
import json
import signal
import threading

from harness import LIMIT, SystemTest, distress, main, wait_for


class BudgetCase(SystemTest):
    def setUp(self):
        super().setUp()
        self.u = self.upstream()
        self.v = self.vault()
        self.ok(self.v.add("api", "--url", self.u.url, "--ca-file", self.certificate.pem))

    def policy(self, lines):
        file = self.folder / "policy.toml"
        file.write_text("version = 1\n[agents.default]\n" + lines)
        return self.ok(self.v.run("policy", "apply", file))


class BudgetTest(BudgetCase):
    def test_requests_a_day(self):
        self.policy("budget = { requests_per_day = 3 }")
        s = self.session(self.v)
        for _ in range(3):
            self.assertEqual(s.request("GET", "/api/x")[0], 200)
        status, headers, body = s.request("GET", "/api/x")
        self.assert_error((status, headers, body), 429, "budget_exceeded")
        self.assertTrue(0 < int(headers["retry-after"]) <= 86400)
        self.assertIn("3 requests a day", json.loads(body)["error"]["message"])
        self.assertEqual(len(self.u.requests), 3)
        self.assertIn("budget_exceeded", {e.get("reason") for e in self.v.events()})

    def test_a_probe_counts(self):
        self.policy("budget = { requests_per_day = 1 }")
        self.assertIn("status:      200", self.ok(self.v.run("doctor", "--probe", "api")).out)
        self.assertIn("budget_exceeded", self.v.run("doctor", "--probe", "api").out)
        self.assertEqual(len(self.u.requests), 1)

    def test_what_is_refused_is_not_counted(self):
        self.policy("budget = { requests_per_day = 1 }\n[[agents.default.rules]]\neffect='allow'\nmethods=['GET']")
        s = self.session(self.v)
        for _ in range(3):
            self.assert_error(s.request("POST", "/api/x", body=b"x"), 403, "policy_denied")
            self.assert_error(s.request("GET", "/api/x", token="agv_x"), 401, "token_invalid")
        self.assertEqual(s.request("GET", "/api/x")[0], 200)

    def test_a_credentials_own_budget(self):
        self.ok(self.v.add("other", "--url", self.u.url, "--ca-file", self.certificate.pem))
        self.policy("[agents.default.credential_budget.api]\nrequests_per_day = 1")
        s = self.session(self.v)
        self.assertEqual(s.request("GET", "/api/x")[0], 200)
        self.assert_error(s.request("GET", "/api/x"), 429, "budget_exceeded")
        self.assertEqual(s.request("GET", "/other/x")[0], 200)

    def test_a_thousand_requests_of_two_sessions_pass_a_hundred(self):
        self.policy("budget = { requests_per_day = 100 }")
        sessions = [self.session(self.v), self.session(self.v)]
        def ask(n):
            return sessions[n % 2].request("GET", f"/api/{n}")[0]
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(ask, range(1000)))
        self.assertEqual((answers.count(200), answers.count(429)), (100, 900))
        self.assertEqual(len(self.u.requests), 100)

    def test_a_kill_gives_nothing_back(self):
        self.policy("budget = { requests_per_day = 60 }")
        passed = 0
        for _ in range(6):
            s = self.session(self.v)
            done = []
            def flood():
                try:
                    while s.request("GET", "/api/x")[0] == 200:
                        done.append(1)
                except (OSError, IndexError, ValueError):
                    pass
            threads = [threading.Thread(target=flood) for _ in range(4)]
            for thread in threads:
                thread.start()
            wait_for(lambda: len(done) >= 8 or not any(t.is_alive() for t in threads), "some requests")
            s.process.send_signal(signal.SIGKILL)
            s.process.wait(LIMIT)
            for thread in threads:
                thread.join(LIMIT)
            passed += len(done)
        s = self.session(self.v)
        while s.request("GET", "/api/x")[0] == 200:
            passed += 1
        self.assertLessEqual(len(self.u.requests), 60)
        self.assertGreater(passed, 30)

    def test_a_live_session_gets_a_budget(self):
        s = self.session(self.v)
        self.assertEqual(s.request("GET", "/api/x")[0], 200)
        self.policy("budget = { requests_per_day = 0 }")
        self.assert_error(s.request("GET", "/api/x"), 403, "budget_too_small")

    def test_a_damaged_budget_allows_nothing_until_it_is_deleted(self):
        self.policy("budget = { requests_per_day = 9 }")
        s = self.session(self.v)
        self.assertEqual(s.request("GET", "/api/x")[0], 200)
        file = self.v.path / "budgets/default"
        file.write_bytes(b"nonsense")
        self.assert_error(s.request("GET", "/api/x"), 503, "budget_failed")
        self.refused(self.v.run("budget", "show"), 6, "damaged", "budget reset")
        self.ok(self.v.run("budget", "reset", "--agent", "default"))
        self.assertEqual(s.request("GET", "/api/x")[0], 200)

    def test_what_was_used_is_shown_and_can_be_reset(self):
        self.policy("budget = { requests_per_day = 1 }\n[agents.default.credential_budget.api]\nrequests_per_day = 9")
        self.assertEqual(self.ok(self.v.run("budget", "show")).out, "")
        s = self.session(self.v)
        self.assertEqual(s.request("GET", "/api/x")[0], 200)
        shown = json.loads(self.ok(self.v.run("budget", "show", "--json")).out)
        self.assertEqual([(r["agent"], r["credential"], r["requests"], r["usd"]) for r in shown], [("default", "(all)", 1, "0.000000"), ("default", "api", 1, "0.000000")])
        self.assertEqual(json.loads(self.ok(self.v.run("budget", "show", "--agent", "other", "--json")).out), [])
        self.assert_error(s.request("GET", "/api/x"), 429, "budget_exceeded")
        for name in ("other", "../vault.db", ""):
            self.assertEqual(self.v.run("budget", "reset", "--agent", name).code, 2 if not name else 3)
        self.ok(self.v.run("budget", "reset", "--agent", "default"))
        self.assertEqual(s.request("GET", "/api/x")[0], 200)

    def test_a_budget_outlives_a_rotation(self):
        self.policy("budget = { requests_per_day = 1 }")
        s = self.session(self.v)
        self.assertEqual(s.request("GET", "/api/x")[0], 200)
        self.ok(self.v.run("rotate"))
        s = self.session(self.v)
        self.assert_error(s.request("GET", "/api/x"), 429, "budget_exceeded")


class ModelBudgetTest(BudgetCase):
    def setUp(self):
        super().setUp()
        folder = self.folder / "config/agentvault/providers"
        folder.mkdir(parents=True)
        (folder / "local.toml").write_text(
            f'name="local"\ntitle="L"\ndocumentation="https://x/"\norigin="{self.u.url}"\nusage="openai"\n'
            '[[prices]]\nmodel="small*"\ninput=1\noutput=10\n[[rules]]\neffect="allow"\nmethods=["*"]\npaths=["/**"]\n')
        self.v.environment["XDG_CONFIG_HOME"] = str(self.folder / "config")
        self.ok(self.v.add("llm", "--provider", "local", "--ca-file", self.certificate.pem))
        self.u.routes["/chat/completions"] = self.answer

    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    status = 200

    def answer(self, handler, body):
        request = json.loads(body)
        if request.get("stream"):
            text = "data: {\"choices\":[]}\n\ndata: " + json.dumps({"usage": self.usage}) + "\n\ndata: [DONE]\n\n"
            return handler.answer(self.status, text.encode(), [("Content-Type", "text/event-stream")])
        body = {"id": "x", "usage": self.usage} if self.usage else {"id": "x"}
        handler.answer(self.status, json.dumps(body).encode(), [("Content-Type", "application/json")])

    def ask(self, s, **fields):
        body = json.dumps({"model": "small-1", "max_tokens": 100, "messages": [], **fields}).encode()
        return s.request("POST", "/llm/chat/completions", body=body, headers=[("Content-Type", "application/json")])

    def test_money_is_settled_from_what_the_answer_says(self):
        # At most 1000 * $10 and 2100 * $1 a million: $0.0031 and a bit; used: 10 * $1 + 5 * $10 a million.
        self.policy("budget = { usd_per_day = 0.0045 }")
        s = self.session(self.v)
        for stream in (False, True) * 10:
            self.assertEqual(self.ask(s, stream=stream)[0], 200)
        # 20 * 60 millionths are gone; the next one reserves 3.1 thousandths: together more than 4.5 thousandths? No.
        self.usage = {"prompt_tokens": 1000, "completion_tokens": 100}
        self.assertEqual(self.ask(s)[0], 200)
        self.assert_error(self.ask(s), 429, "budget_exceeded")

    def test_without_usage_the_reservation_stands(self):
        self.policy("budget = { tokens_per_day = 5000 }")
        s = self.session(self.v)
        ModelBudgetTest.usage, before = None, self.usage
        self.addCleanup(setattr, ModelBudgetTest, "usage", before)
        self.assertEqual(self.ask(s)[0], 200)
        self.assertEqual(self.ask(s)[0], 200)
        self.assert_error(self.ask(s), 429, "budget_exceeded")

    def test_what_could_not_be_recorded_was_not_used(self):
        self.policy("budget = { tokens_per_day = 5000 }")
        for _ in range(3):
            s = self.session(self.v, env={**distress(self.folder)})
            (self.folder / "full").touch()
            self.assert_error(self.ask(s), 503, "audit_failed")
            (self.folder / "full").unlink()
            s.process.kill()
        s = self.session(self.v)
        self.assertEqual(self.ask(s)[0], 200)

    def test_what_the_service_refuses_costs_nothing(self):
        self.policy("budget = { tokens_per_day = 3000 }")
        s = self.session(self.v)
        for self.status in (400, 401, 429, 503, 529):
            self.usage = None
            self.assertEqual(self.ask(s)[0], self.status)
        # A model may have run.
        self.status = 504
        self.assertEqual(self.ask(s)[0], 504)
        self.assert_error(self.ask(s), 429, "budget_exceeded")

    def test_what_has_no_bound_or_no_price_is_denied(self):
        self.policy("budget = { usd_per_day = 5.00 }")
        s = self.session(self.v)
        for fields, words in (({"model": "unheard-of"}, "price of this model"), ({"tools": [{"type": "web_search"}]}, "tools/0/type"),
                              ({"model": None}, "names no model"), ({"messages": [{"content": [{"type": "file"}]}]}, "messages/0/content/0/type")):
            response = self.ask(s, **fields)
            self.assert_error(response, 403, "budget_unbounded")
            self.assertIn(words, json.loads(response[2])["error"]["message"])
        self.assert_error(s.request("POST", "/llm/images", body=b"{}", headers=[("Content-Type", "application/json")]), 403, "budget_unbounded")
        self.assertEqual(self.u.requests, [])
        self.assertEqual(s.request("GET", "/llm/models")[0], 200)
        self.assertEqual(s.request("POST", "/api/x", body=b"free")[0], 200)  # a service without models costs nothing here
        self.assertEqual(self.ask(s, max_tokens=None)[0], 200)

    def test_a_request_that_alone_is_too_much(self):
        self.policy("budget = { tokens_per_day = 1000 }")
        s = self.session(self.v)
        self.assert_error(self.ask(s, max_tokens=5000), 403, "budget_too_small")

    def test_a_stream_that_breaks_off_keeps_its_reservation(self):
        self.policy("budget = { tokens_per_day = 4000 }")
        s = self.session(self.v)
        release = threading.Event()
        self.addCleanup(release.set)
        def hang(handler, body):
            handler.send_response(200)
            handler.send_header("Content-Type", "text/event-stream")
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
            handler.wfile.write(b'data: {"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n')
            handler.wfile.flush()
            release.wait(LIMIT)
            handler.close_connection = True
        self.u.routes["/chat/completions"] = hang
        body = json.dumps({"model": "small-1", "max_tokens": 1000}).encode()
        with s.connect() as connection:
            connection.sendall(f"POST /llm/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{s.port}\r\nAuthorization: Bearer {s.token}\r\n"
                               f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            got = b""
            while b"usage" not in got:
                got += connection.recv(4096)
        release.set()
        wait_for(lambda: any(e["event"] == "settled" for e in self.v.events()), "the end of the stream")
        self.assert_error(self.ask(s, max_tokens=1000), 429, "budget_exceeded")


if __name__ == "__main__":
    main()
