"""The broker as a proxy: CONNECT, interception, plain egress, the network guard, the outer proxy. In an internet of its own."""
import base64
import json
import os
import socket
import ssl
import subprocess
import threading

import internet
from harness import KEY, LIMIT, Certificate, SystemTest, Upstream, main, parse_response, read_until_closed, wait_for

API, SITE = "api.vendor.example", "plain.site.example"
PEER_KEY = "sk-another-" + "0123456789abcdefghij"


def own_error(response):
    return json.loads(response[2])["error"]["code"]


class ProxyTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.certificate = Certificate(self.folder, f"DNS:{API},DNS:{SITE},DNS:localhost,IP:127.0.0.1")
        self.api = self.upstream(address=internet.address_of(API), port=443, name=API)
        self.v = self.vault()
        self.ok(self.v.add("vendor", "--url", f"https://{API}/v1", "--ca-file", self.certificate.pem, "--env", "VENDOR_KEY"))

    def site(self, **options):
        return self.upstream(address=internet.address_of(SITE), name=SITE, **options)

    def decisions(self):
        return [e for e in self.v.events() if e["event"] == "decided"]

    def curl(self, *words, options=(), env=None):
        done = self.v.run("exec", "-q", *options, "--", "curl", "-sS", "--max-time", "30", *words, env=env)
        return done

    # --- interception

    def test_curl_reaches_a_granted_host_and_the_key_goes_in(self):
        done = self.ok(self.v.run("exec", "-q", "--", "sh", "-c", f'curl -sS -H "Authorization: Bearer $VENDOR_KEY" https://{API}/v1/x'))
        self.assertEqual(json.loads(done.out), {"ok": True, "path": "/v1/x"})
        self.assertEqual(self.api.header(0, "Authorization"), "Bearer " + KEY)
        self.assertEqual(self.api.header(0, "Host"), API)
        connect, request = self.decisions()
        self.assertEqual((connect["method"], connect["path"], connect["reason"]), ("CONNECT", API + ":443", "intercepted"))
        self.assertEqual((request["credential"], request["host"], request["path"], request["decision"]), ("vendor", API + ":443", "/v1/x", "allow"))

    def test_the_certificate_is_of_the_session_and_names_only_the_host(self):
        s = self.session(self.v)
        status, connection = s.tunnel(API + ":443")
        self.assertEqual(status, 200)
        with connection, s.inside(connection, API) as tls:
            shown = tls.getpeercert()
            self.assertEqual(shown["subjectAltName"], (("DNS", API),))
            self.assertIn(f"agentvault session {s.environment['AGENTVAULT_SESSION']}", str(shown["issuer"]))
            self.assertGreaterEqual(tls.version(), "TLSv1.2")
        files = [p for p in (self.v.path / "sessions").iterdir() if p.suffix in (".pem", ".jks", ".wgetrc")]
        self.assertEqual(len(files), 4)
        for path in files:
            self.assertEqual(path.stat().st_mode & 0o777, 0o400, path)
            self.assertNotIn(b"PRIVATE", path.read_bytes())
        s.stop()
        self.assertEqual([p for p in files if p.exists()], [])

    def test_a_killed_session_s_files_go_with_the_next_one(self):
        s = self.session(self.v)
        s.process.kill()
        s.process.wait(LIMIT)
        left = list((self.v.path / "sessions").glob("*.pem"))
        self.assertTrue(left)
        self.ok(self.v.run("exec", "-q", "--", "true"))
        self.assertEqual([p for p in left if p.exists()], [])

    def test_only_http_1_1_is_agreed_upon(self):
        s = self.session(self.v)
        for offered, agreed in ((["h2", "http/1.1"], "http/1.1"), ([], None)):
            context = ssl.create_default_context(cafile=s.environment["SSL_CERT_FILE"])
            if offered:
                context.set_alpn_protocols(offered)
            with s.tunnel(API + ":443")[1] as connection, context.wrap_socket(connection, server_hostname=API) as tls:
                self.assertEqual(tls.selected_alpn_protocol(), agreed)
        context.set_alpn_protocols(["h2"])
        with s.tunnel(API + ":443")[1] as connection, self.assertRaises(ssl.SSLError):
            context.wrap_socket(connection, server_hostname=API)

    def test_a_client_that_does_not_trust_the_certificate_is_named_once(self):
        script = f'for i in 1 2; do curl -sS --cacert /etc/ssl/certs/ca-certificates.crt https://{API}/v1/x 2>/dev/null; echo $?; done'
        done = self.v.run("exec", "-q", "--", "sh", "-c", script)
        self.assertEqual(done.out, "60\n60\n")
        self.assertEqual(done.err.count(f"gave up its connection to {API}"), 1, done.err)
        self.assertEqual(self.api.requests, [])

    def test_another_name_inside_the_tunnel_is_misdirected(self):
        s = self.session(self.v)
        for field in ("evil.example", SITE, API + ":444", API + "..", "x" + API):
            self.assertEqual(s.intercepted(API, "GET", "/v1/x", host_field=field)[0], 421, field)
        # A handshake for another name, by a client that does not look at the certificate.
        status, connection = s.tunnel(API + ":443")
        context = ssl._create_unverified_context()
        with connection, context.wrap_socket(connection, server_hostname=SITE) as tls:
            tls.sendall(f"GET /v1/x HTTP/1.1\r\nHost: {API}\r\nConnection: close\r\nAuthorization: Bearer {s.token}\r\n\r\n".encode())
            response = parse_response(read_until_closed(tls))
        self.assertEqual((response[0], own_error(response)), (421, "misdirected"))
        self.assertEqual(self.api.requests, [])
        self.assertEqual(s.intercepted(API, "GET", "/v1/x", host_field=API + ":443")[0], 200)

    def test_an_absolute_url_and_the_server_itself_inside_a_tunnel(self):
        s = self.session(self.v)
        self.assertEqual(s.intercepted(API, "GET", f"https://{API}/v1/x?a=1")[0], 200)
        self.assertEqual(s.intercepted(API, "GET", f"https://{API}:443/v1/y")[0], 200)
        self.assertEqual([r["path"] for r in self.api.requests], ["/v1/x?a=1", "/v1/y"])
        for url in (f"https://{SITE}/v1/x", f"http://{API}/v1/x", f"https://{API}:444/v1/x", "https:///v1/x", f"https://u@{API}/v1/x"):
            self.assertEqual(s.intercepted(API, "GET", url)[0], 421, url)
        self.assertEqual(s.intercepted(API, "GET", "*")[0], 400)
        self.assertEqual(own_error(s.intercepted(API, "OPTIONS", "*")), "outside_base")
        self.ok(self.v.add("vendor", "--replace", "--url", f"https://{API}", "--ca-file", self.certificate.pem, "--env", "VENDOR_KEY"))
        s = self.session(self.v)
        self.assertEqual(s.intercepted(API, "OPTIONS", "*")[0], 200)
        self.assertEqual(self.api.requests[-1]["path"], "*")

    def test_plaintext_inside_a_tunnel_is_understood(self):
        s = self.session(self.v)
        line = f"GET /v1/x HTTP/1.1\r\nHost: {API}\r\nConnection: close\r\nAuthorization: Bearer {s.token}\r\n\r\n"
        with s.tunnel(API + ":443")[1] as connection:
            connection.sendall(line.encode())
            self.assertEqual(parse_response(read_until_closed(connection))[0], 200)
        self.assertEqual(self.api.header(0, "Authorization"), "Bearer " + KEY)
        # As undici does it for a base URL when nothing tells it to go there directly.
        own = f"127.0.0.1:{s.port}"
        with s.tunnel(own)[1] as connection:
            connection.sendall(f"GET /vendor/v1/y HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\nAuthorization: Bearer {s.token}\r\n\r\n".encode())
            self.assertEqual(parse_response(read_until_closed(connection))[0], 200)
        data = s.raw(f"GET http://{own}/vendor/v1/z HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\nAuthorization: Bearer {s.token}\r\n\r\n".encode())
        self.assertEqual(parse_response(data)[0], 200)
        self.assertEqual([r["path"] for r in self.api.requests], ["/v1/x", "/v1/y", "/v1/z"])

    def test_many_requests_in_one_tunnel_each_judged(self):
        s = self.session(self.v)
        with s.tunnel(API + ":443")[1] as connection, s.inside(connection, API) as tls:
            def ask(path, token):
                tls.sendall(f"GET {path} HTTP/1.1\r\nHost: {API}\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
                return int(read_response(tls)[0])
            self.assertEqual([ask("/v1/a", s.token), ask("/v2/a", s.token), ask("/v1/b", "agv_nonsense"), ask("/v1/c", s.token)], [200, 403, 401, 200])
        self.assertEqual([r["path"] for r in self.api.requests], ["/v1/a", "/v1/c"])

    def test_absolute_form_over_tls_is_intercepted_too(self):
        s = self.session(self.v)
        data = s.raw(self.proxied(s, f"GET https://{API}/v1/x", API, f"Authorization: Bearer {s.token}"))
        self.assertEqual(parse_response(data)[0], 200)
        self.assertEqual(self.api.header(0, "Authorization"), "Bearer " + KEY)
        self.assertIsNone(self.api.header(0, "Proxy-Authorization"))

    def proxied(self, s, line, host, *fields):
        basic = base64.b64encode(f"agentvault:{s.proxy_token}".encode()).decode()
        return "\r\n".join([line + " HTTP/1.1", "Host: " + host, "Connection: close", "Proxy-Authorization: Basic " + basic, *fields]).encode() + b"\r\n\r\n"

    # --- authorization

    def test_a_proxy_without_the_token_answers_407_and_the_connection_stays_usable(self):
        s = self.session(self.v)
        basic = base64.b64encode(f"agentvault:{s.proxy_token}".encode()).decode()
        with s.connect() as connection:
            for authorization in ("", "Proxy-Authorization: Basic Zm9vOmJhcg==\r\n", "Proxy-Authorization: Bearer agv_x\r\n"):
                connection.sendall(f"CONNECT {API}:443 HTTP/1.1\r\nHost: {API}:443\r\n{authorization}\r\n".encode())
                status, headers, body = read_response(connection)
                self.assertEqual(status, 407)
                self.assertEqual(headers["proxy-authenticate"], 'Basic realm="agentvault"')
                self.assertNotIn("connection", headers)
            connection.sendall(f"CONNECT {API}:443 HTTP/1.1\r\nHost: {API}:443\r\nProxy-Authorization: Basic {basic}\r\n\r\n".encode())
            self.assertEqual(read_response(connection, tunnel=True)[0], 200)
            with s.inside(connection, API) as tls:
                tls.sendall(f"GET /v1/x HTTP/1.1\r\nHost: {API}\r\nConnection: close\r\nAuthorization: Bearer {s.token}\r\n\r\n".encode())
                self.assertEqual(parse_response(read_until_closed(tls))[0], 200)

    def test_the_proxy_token_opens_no_credential_and_a_credential_token_no_other_host(self):
        s = self.session(self.v)
        response = s.intercepted(API, "GET", "/v1/x", token=s.proxy_token)
        self.assertEqual((response[0], own_error(response)), (401, "token_other_credential"))
        self.assertEqual(s.request("GET", "/vendor/v1/x", token=s.proxy_token)[0], 401)
        self.site()
        self.assertEqual(s.tunnel(SITE + ":1", token=s.environment["VENDOR_KEY"])[0], 401)
        self.assertEqual(self.api.requests, [])

    def test_a_request_without_a_token_goes_nowhere_unless_the_preset_says_so(self):
        s = self.session(self.v)
        response = s.intercepted(API, "GET", "/v1/x", token="")
        self.assertEqual((response[0], own_error(response)), (401, "token_missing"))
        self.assertIn("Bearer", response[1]["www-authenticate"])
        for header in (("Authorization", "Bearer sk-mine"), ("X-Api-Key", "mine"), ("Authorization", "Basic Zm9vOmJhcg==")):
            response = s.intercepted(API, "GET", "/v1/x", token="", headers=[header])
            self.assertEqual((response[0], own_error(response)), (401, "foreign_authorization"))
        self.assertEqual(self.api.requests, [])

    def test_where_anonymous_requests_are_of_use_they_go_bare(self):
        presets = self.folder / "config/agentvault/providers"
        presets.mkdir(parents=True)
        (presets / "forge.toml").write_text('name="forge"\ntitle="F"\ndocumentation="https://forge.example/"\norigin="https://forge.example"\nanonymous=true\n'
                                            '[[rules]]\neffect="allow"\nmethods=["GET"]\npaths=["/private"]\n')
        self.v.environment["XDG_CONFIG_HOME"] = str(self.folder / "config")
        self.certificate = Certificate(self.folder, "DNS:forge.example")
        up = self.upstream(address=internet.address_of("forge.example"), port=443)
        self.ok(self.v.add("forge", "--ca-file", self.certificate.pem))
        s = self.session(self.v)
        self.assertEqual(s.intercepted("forge.example", "GET", "/public", token="")[0], 200)
        self.assertEqual([k.lower() for k, _ in up.requests[0]["headers"] if "auth" in k.lower()], [])
        self.assertEqual(s.intercepted("forge.example", "GET", "/private")[0], 200)
        self.assertEqual(up.header(1, "Authorization"), "Bearer " + KEY)
        self.assertEqual(s.intercepted("forge.example", "GET", "/public")[0], 403)  # with a token the rules hold
        self.assertEqual(s.intercepted("forge.example", "GET", "/x?t=" + s.token, token="")[0], 400)
        self.assertEqual(s.request("GET", "/forge/public", token="")[0], 401)  # addressed by its name
        narrow = self.session(self.v, "--egress", "brokered")
        self.assertEqual(narrow.intercepted("forge.example", "GET", "/public", token="")[0], 401)

    def test_of_two_credentials_of_one_host_the_token_chooses(self):
        self.ok(self.v.add("second", "--url", f"https://{API}/v1", "--ca-file", self.certificate.pem, "--env", "SECOND_KEY", secret=PEER_KEY))
        s = self.session(self.v)
        self.assertEqual(s.intercepted(API, "GET", "/v1/x", token=s.environment["VENDOR_KEY"])[0], 200)
        self.assertEqual(s.intercepted(API, "GET", "/v1/x", token=s.environment["SECOND_KEY"])[0], 200)
        self.assertEqual([self.api.header(i, "Authorization") for i in (0, 1)], ["Bearer " + KEY, "Bearer " + PEER_KEY])
        response = s.intercepted(API, "GET", "/v1/x")
        self.assertEqual((response[0], own_error(response)), (401, "ambiguous_credential"))
        self.assertIn("vendor", json.loads(response[2])["error"]["message"])

    def test_a_base_path_chooses_as_well(self):
        self.ok(self.v.add("second", "--url", f"https://{API}/v2", "--ca-file", self.certificate.pem, "--env", "SECOND_KEY", secret=PEER_KEY))
        s = self.session(self.v)
        self.assertEqual(s.intercepted(API, "GET", "/v2/x")[0], 200)
        self.assertEqual(self.api.header(0, "Authorization"), "Bearer " + PEER_KEY)

    # --- other hosts

    def test_other_hosts_are_tunnelled_untouched(self):
        site = self.site(port=443)
        done = self.ok(self.curl("--cacert", self.certificate.pem, "-H", "Authorization: Bearer mine", "-H", "Accept-Encoding: gzip", f"https://{SITE}/a//b%2Fc;d"))
        self.assertEqual(json.loads(done.out)["path"], "/a//b%2Fc;d")
        self.assertEqual(site.header(0, "Authorization"), "Bearer mine")
        self.assertEqual(site.header(0, "Accept-Encoding"), "gzip")
        event = self.decisions()[0]
        self.assertEqual((event["host"], event["credential"], event["reason"]), (SITE + ":443", "", "egress open"))
        settled = [e for e in self.v.events() if e["event"] == "settled"][0]
        self.assertEqual(settled["status"], 200)
        self.assertGreater(settled["bytes_received"], 0)

    def test_plain_http_goes_through_and_never_with_a_token(self):
        site = self.site(port=80, tls=False)
        done = self.ok(self.curl(f"http://{SITE}/a//b?c=%2F"))
        self.assertEqual(json.loads(done.out)["path"], "/a//b?c=%2F")
        self.assertEqual(site.header(0, "Host"), SITE)
        self.assertFalse([k for k, v in site.requests[0]["headers"] if "proxy" in k.lower() or "agv_" in v])
        done = self.ok(self.v.run("exec", "-q", "--", "sh", "-c", f'curl -sS -H "X-Any: $VENDOR_KEY" http://{SITE}/; curl -sS "http://{SITE}/?k=$AGENTVAULT_TOKEN"'))
        self.assertEqual(done.out.count('"token_misplaced"'), 2)
        self.assertEqual(len(site.requests), 1)
        s = self.session(self.v)
        data = s.raw(self.proxied(s, f"GET http://{SITE}/", "evil.example"))
        self.assertEqual(parse_response(data)[0], 421)
        for url in (f"http://user@{SITE}/", f"http://{SITE}/#x", f"http://{SITE}:x/", f"http:/{SITE}/", f"http://{SITE}\\@x/"):
            self.assertEqual(parse_response(s.raw(self.proxied(s, f"GET {url}", SITE)))[0], 400, url)
        self.assertEqual(len(site.requests), 1)

    def test_a_granted_host_over_plain_http_gets_no_key(self):
        plain = self.upstream(address=internet.address_of(API), port=80, tls=False)
        done = self.ok(self.v.run("exec", "-q", "--", "sh", "-c", f'curl -sS -H "Authorization: Bearer $VENDOR_KEY" http://{API}/v1/x'))
        self.assertIn("token_misplaced", done.out)
        self.assertEqual(plain.requests, [])

    def test_egress_is_what_the_command_line_says(self):
        self.site(port=443)
        for egress, allowed in (("open", True), ("brokered", False), (SITE, True), ("*.site.example", True), (SITE + ":443", True),
                                (SITE + ":444", False), ("site.example", False), ("*.plain.site.example", False), ("docs.example,*.example", True)):
            s = self.session(self.v, "--egress", egress)
            self.assertEqual(s.tunnel(SITE + ":443")[0], 200 if allowed else 403, egress)
            self.assertEqual(s.intercepted(API, "GET", "/v1/x")[0], 200, egress)
            s.stop()
        for bad in ("http://x", "a b", "*.", "127.1", "x:0", ""):
            self.refused(self.v.run("exec", "--egress", bad, "--", "true"), 2, "not a host for egress", "brokered")

    def test_bytes_flow_both_ways_at_once_and_half_closing_works(self):
        echoed = socket.create_server((internet.address_of(SITE), 7))
        self.addCleanup(echoed.close)

        def serve():
            peer, _ = echoed.accept()
            with peer:
                peer.sendall(b"hello first\n")  # like ssh, before the client says anything
                total = 0
                while got := peer.recv(65536):
                    total += len(got)
                    peer.sendall(got)
                peer.sendall(b"total %d\n" % total)
        threading.Thread(target=serve, daemon=True).start()
        s = self.session(self.v)
        status, connection = s.tunnel(SITE + ":7")
        self.assertEqual(status, 200)
        payload = os.urandom(3_000_000)

        def send():
            connection.sendall(payload)
            connection.shutdown(socket.SHUT_WR)
        threading.Thread(target=send, daemon=True).start()
        self.assertEqual(read_until_closed(connection), b"hello first\n" + payload + b"total 3000000\n")

    def test_a_tunnel_ends_with_the_session_and_with_its_token(self):
        listener = socket.create_server((internet.address_of(SITE), 9))
        self.addCleanup(listener.close)
        s = self.session(self.v)
        status, connection = s.tunnel(SITE + ":9")
        self.assertEqual(status, 200)
        peer, _ = listener.accept()
        self.ok(self.v.run("revoke", "--token", s.proxy_token))
        self.assertEqual(read_until_closed(connection), b"")
        peer.settimeout(LIMIT)
        self.assertEqual(peer.recv(1), b"")
        self.assertIn(s.tunnel(SITE + ":9")[0], (401, 403))

    # --- the network guard

    def test_private_and_odd_addresses_are_not_reached(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        port = listener.getsockname()[1]
        s = self.session(self.v)
        for host in ("127.0.0.1", "localhost", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "0.0.0.0", "[::]",
                     "10.0.0.1", "169.254.169.254", "[fd00:ec2::254]", "rebound.example", "metadata.example", "100.64.0.1", "192.168.1.1"):
            status, connection = s.tunnel(f"{host}:{port}")
            self.assertEqual(status, 502, host)
        for host in ("127.1", "0x7f.0.0.1", "2130706433", "0177.0.0.1", "::1", "127.0.0.1.", "[127.0.0.1]", "[::1%25lo]", "", "a b", "user@" + SITE):
            status, connection = s.tunnel(f"{host}:{port}")
            self.assertEqual(status, 400, host)
        for target in (SITE, SITE + ":0", SITE + ":65536", SITE + ":+80", "http://" + SITE):
            self.assertEqual(s.tunnel(target)[0], 400, target)
        data = s.raw(self.proxied(s, f"GET http://127.0.0.1:{port}/", f"127.0.0.1:{port}"))
        self.assertEqual(own_error(parse_response(data)), "address_refused")
        listener.setblocking(False)
        with self.assertRaises(BlockingIOError):
            listener.accept()

    def test_a_local_address_that_egress_names_is_reached_a_metadata_service_never(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        port = listener.getsockname()[1]
        s = self.session(self.v, "--egress", f"127.0.0.1:{port},169.254.169.254,rebound.example")
        self.assertEqual(s.tunnel(f"127.0.0.1:{port}")[0], 200)
        self.assertEqual(s.tunnel(f"rebound.example:{port}")[0], 502)
        self.assertEqual(s.tunnel(f"169.254.169.254:{port}")[0], 502)

    # --- the proxy that exec was started with

    def outer(self, answer=b"HTTP/1.1 200 OK\r\n\r\n"):
        listener = socket.create_server((internet.address_of("proxy.corp.example"), 3128))
        self.addCleanup(listener.close)
        self.addCleanup(listener.shutdown, socket.SHUT_RDWR)
        seen = []

        def relay(a, b):
            try:
                while got := a.recv(65536):
                    b.sendall(got)
                b.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        def one(client):
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(65536)
            seen.append(head.decode())
            client.sendall(answer)
            if b" 200 " in answer:
                host, port = head.split()[1].decode().rsplit(":", 1)
                upstream = socket.create_connection((host, int(port)))
                threading.Thread(target=relay, args=(upstream, client), daemon=True).start()
                relay(client, upstream)
            client.close()

        def serve():
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(client,), daemon=True).start()
        threading.Thread(target=serve, daemon=True).start()
        return seen

    def test_upstreams_are_reached_through_the_proxy_that_exec_was_started_with(self):
        seen = self.outer()
        self.site(port=443)
        env = {"HTTPS_PROXY": "http://me:s%3Acret@proxy.corp.example:3128/", "no_proxy": "unrelated.example"}
        s = self.session(self.v, env=env)
        self.assertNotIn("corp", str(s.environment))
        self.assertEqual(s.intercepted(API, "GET", "/v1/x")[0], 200)
        self.assertEqual(self.api.header(0, "Authorization"), "Bearer " + KEY)
        self.assertEqual(s.tunnel(SITE + ":443")[0], 200)
        basic = base64.b64encode(b"me:s:cret").decode()
        self.assertEqual(seen, [f"CONNECT {h}:443 HTTP/1.1\r\nHost: {h}:443\r\nProxy-Authorization: Basic {basic}\r\n\r\n" for h in (API, SITE)])
        for host in ("localhost", "127.0.0.1", "metadata.google.internal", "[::ffff:10.0.0.1]"):
            self.assertEqual(s.tunnel(host + ":443")[0], 502, host)
        self.assertEqual(len(seen), 2)

    def test_no_proxy_and_a_refusing_proxy(self):
        seen = self.outer(b"HTTP/1.1 403 Not here\r\n\r\n")
        s = self.session(self.v, env={"https_proxy": "proxy.corp.example:3128", "NO_PROXY": ".vendor.example"})
        self.assertEqual(s.intercepted(API, "GET", "/v1/x")[0], 200)
        self.assertEqual(seen, [])
        data = s.tunnel(SITE + ":443")
        self.assertEqual(data[0], 502)
        self.assertEqual(len(seen), 1)

    def test_a_proxy_that_cannot_be_used_is_said_before_the_child_starts(self):
        for value in ("socks5h://p:1", "https://p:1", "http://p:0", "http://a b"):
            self.refused(self.v.run("exec", "--", "touch", self.folder / "ran", env={"HTTPS_PROXY": value}), 2, "HTTPS_PROXY", "http://host:port")
        self.assertFalse((self.folder / "ran").exists())

    # --- who may connect

    def test_another_user_of_the_machine_is_not_served(self):
        if os.geteuid() != 0 or os.environ.get("SUDO_UID") or open("/proc/self/uid_map").read().split()[:2] != ["0", "0"]:
            self.skipTest("SKIPPED: needs a second user")
        os.chmod(self.folder, 0o711)
        s = self.session(self.v)
        tokenless = int(s.environment["JAVA_TOOL_OPTIONS"].split("https.proxyPort=")[1].split()[0])
        ask = ("import socket,sys\nfor p in map(int,sys.argv[1:]):\n c=socket.create_connection(('127.0.0.1',p))\n"
               " try:\n  c.sendall(b'CONNECT %s:443 HTTP/1.1\\r\\nHost: %s:443\\r\\n\\r\\n'); print(c.recv(30))\n"
               " except ConnectionError: print(b'')\n") % (API, API)
        run = lambda *prefix: subprocess.run([*prefix, "/usr/bin/python3", "-c", ask, str(s.port), str(tokenless)], capture_output=True, text=True, timeout=LIMIT).stdout.split("\n")
        self.assertIn("407", run()[0])
        self.assertIn("200", run()[1])
        self.assertEqual(run("setpriv", "--reuid", "65534", "--clear-groups")[:2], ["b''", "b''"])


def read_response(connection, tunnel=False):
    """One response from a connection that stays open: (status, headers, body)."""
    data = b""
    while b"\r\n\r\n" not in data:
        got = connection.recv(65536)
        if not got:
            raise AssertionError("closed")
        data += got
    head, _, rest = data.partition(b"\r\n\r\n")
    headers = {k.strip().lower(): v.strip() for k, v in (line.split(":", 1) for line in head.decode().split("\r\n")[1:])}
    size = 0 if tunnel else int(headers.get("content-length", 0))
    while len(rest) < size:
        rest += connection.recv(65536)
    return int(head.split()[1]), headers, rest


if __name__ == "__main__":
    internet.enter()
    main()
