"""Clients that know of no proxy, inside strict: every connection arrives at the broker. In an internet of its own."""
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading

import internet
from harness import KEY, LIMIT, PROGRAM, ROOT, Certificate, SystemTest, main

API, SITE, FORGE = "api.vendor.example", "plain.site.example", "forge.example"
BARE = ["env", "-i", "PATH=" + os.environ.get("PATH", "/usr/bin:/bin")]


class TransparentTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.certificate = Certificate(self.folder, f"DNS:{API},DNS:{SITE},DNS:localhost,IP:127.0.0.1")
        self.api = self.upstream(address=internet.address_of(API), port=443, name=API)
        self.v = self.vault()
        place = "/home" if os.access("/home", os.W_OK) else str(ROOT / "build")
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="transparent-", dir=place))
        self.addCleanup(shutil.rmtree, self.base, True)
        self.v.environment["HOME"] = str(self.base)
        self.project = self.base / "project"
        self.project.mkdir()
        self.ok(self.v.add("vendor", "--url", f"https://{API}/v1", "--ca-file", self.certificate.pem, "--env", "VENDOR_KEY"))

    def inside(self, *words, options=()):
        return self.v.run("exec", "-q", "--isolation", "strict", *options, "--", *words, cwd=self.project)

    def python(self, script, *options):
        return self.inside(sys.executable, "-c", script, options=options)

    def decisions(self):
        return [(e["method"], e["host"] if e["method"] != "CONNECT" else e["path"], e["decision"]) for e in self.v.events() if e["event"] == "decided"]

    def test_a_client_without_any_variable_gets_its_key_put_in(self):
        script = f'exec env -i PATH="$PATH" T="$VENDOR_KEY" sh -c \'curl -sS --max-time 20 -H "Authorization: Bearer $T" https://{API}/v1/x\''
        done = self.ok(self.inside("sh", "-c", script))
        self.assertEqual(json.loads(done.out), {"ok": True, "path": "/v1/x"})
        self.assertEqual(self.api.header(0, "Authorization"), "Bearer " + KEY)
        self.assertEqual(self.decisions(), [("CONNECT", API + ":443", "allow"), ("GET", API + ":443", "allow")])

    def test_names_have_addresses_of_their_own(self):
        script = ("import socket\nfor n in ('%s','%s','%s'):\n  print(socket.getaddrinfo(n,443,type=socket.SOCK_STREAM)[0][4][0])\n"
                  "try: socket.getaddrinfo('%s',443,socket.AF_INET6)\nexcept OSError as e: print('none')" % (API, SITE, API, API))
        self.assertEqual(self.ok(self.python(script)).out.split(), ["198.18.0.1", "198.18.0.2", "198.18.0.1", "none"])
        refused = self.python(f"import socket\nsocket.gethostbyname('{SITE}')", "--egress", "brokered")
        self.assertIn("gaierror", refused.err)

    def test_egress_is_enforced_at_every_port(self):
        site = self.upstream(address=internet.address_of(SITE), port=80, tls=False, name=SITE)
        reach = f"import socket\ns=socket.create_connection(('{{}}',80),10)\ns.sendall(b'GET / HTTP/1.0\\r\\nHost: {SITE}\\r\\n\\r\\n')\ns.settimeout(10)\nprint(s.recv(15).decode())"
        for place, egress, reached in ((SITE, "open", True), (SITE, SITE, True), (SITE, SITE + ":80", True), (SITE, "other.example", False),
                                       (internet.address_of(SITE), "brokered", False), (internet.address_of(SITE), "open", True),
                                       ("127.0.0.1", "open", False), ("169.254.169.254", "open", False)):
            done = self.python(reach.format(place), "--egress", egress)
            self.assertEqual("HTTP/1.1 200" in done.out, reached, (place, egress, done))
        self.assertEqual(len(site.requests), 4)
        denied = [e for e in self.v.events() if e["event"] == "decided" and e["decision"] == "deny"]
        self.assertIn(internet.address_of(SITE) + ":80", [e["path"] for e in denied])

    SUB = """
import base64, http.client, os, re, socket, sys, urllib.parse
SITE, API = sys.argv[1:3]
proxy = urllib.parse.urlsplit(os.environ["HTTP_PROXY"])
java = int(re.search("proxyPort=([0-9]+)", os.environ.get("JAVA_TOOL_OPTIONS", "proxyPort=1")).group(1))
def tried(connect, target="/d", **headers):
    try:
        connection = http.client.HTTPConnection(*connect, timeout=20)
        connection.request("GET", target, headers={"Host": SITE, **headers})
        return connection.getresponse().status
    except OSError as error:
        return type(error).__name__
basic = "Basic " + base64.b64encode(f"{proxy.username}:{proxy.password}".encode()).decode()
def all_ways():
    server = socket.create_server(("127.0.0.1", 0))
    own = socket.create_connection(server.getsockname(), 20)
    return [tried((SITE, 80)), tried((socket.gethostbyname(SITE), 80)), tried(("127.0.0.1", java), f"http://{SITE}/j"),
            tried((proxy.hostname, proxy.port), f"http://{SITE}/p", **{"Proxy-Authorization": basic})]
print(all_ways(), flush=True)
for line in sys.stdin:
    print(all_ways(), flush=True)
"""

    def test_a_sub_agent_reaches_the_network_with_its_own_token_only(self):
        site = self.upstream(address=internet.address_of(SITE), port=80, tls=False, name=SITE)
        (self.project / "sub.py").write_text(self.SUB)
        words = [sys.executable, "sub.py", SITE, API]
        start = lambda *command: subprocess.Popen(self.v.argv("exec", "-q", "--isolation", "strict", "--share", PROGRAM, "--", *command), cwd=self.project,
                                                  env=self.v.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        agent = start(*words)
        self.assertEqual(agent.communicate(timeout=LIMIT)[0], "[200, 200, 200, 200]\n")
        agent = start(PROGRAM, "exec", "--agent", "scout", "--", *words)
        delegation = agent.stderr.readline().split()[2]
        self.assertEqual(agent.stdout.readline(), "['PermissionError', 'PermissionError', 'PermissionError', 200]\n")
        self.ok(self.v.run("revoke", "--token", delegation))
        seen = len(site.requests)
        out, err = agent.communicate("again\n", timeout=LIMIT)
        self.assertEqual(out, "['PermissionError', 'PermissionError', 'PermissionError', 401]\n", err)
        self.assertEqual(len(site.requests), seen)
        chains = [e["chain"] for e in self.v.events() if e["event"] == "decided" and e["path"] == "/p" and e["decision"] == "allow"]
        self.assertEqual(sorted(chains), [[], [delegation, "scout"]])

    def test_a_server_that_speaks_first_keeps_its_name(self):
        server = socket.create_server((internet.address_of(FORGE), 22))
        self.addCleanup(server.close)

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"SSH-2.0-stand-in\r\n")
                connection.recv(100)
        threading.Thread(target=serve, daemon=True).start()
        script = f"import socket\ns=socket.create_connection(('{FORGE}',22),10)\ns.settimeout(10)\nprint(s.recv(100).decode().strip())"
        self.assertEqual(self.ok(self.python(script, "--egress", FORGE + ":22")).out, "SSH-2.0-stand-in\n")
        self.assertIn(("CONNECT", FORGE + ":22", "allow"), self.decisions())
        self.assertIn("Connection reset", self.python(script, "--egress", FORGE + ":23").err)

    def test_a_hello_in_pieces(self):
        script = (f"import os,socket,ssl\nc=ssl.create_default_context()\ni,o=ssl.MemoryBIO(),ssl.MemoryBIO()\nt=c.wrap_bio(i,o,server_hostname='{API}')\n"
                  f"s=socket.create_connection(('{API}',443),10)\ns.setsockopt(socket.IPPROTO_TCP,socket.TCP_NODELAY,1)\ns.settimeout(10)\n"
                  "def push():\n  for b in o.read(): s.sendall(bytes([b]))\n"
                  "while True:\n  try:\n    t.do_handshake(); push(); break\n  except ssl.SSLWantReadError:\n    push(); i.write(s.recv(65536))\n"
                  "print(dict(x[0] for x in t.getpeercert()['subject'])['commonName'])")
        self.assertEqual(self.ok(self.python(script)).out, API + "\n")

    def test_the_system_s_store_trusts_the_session(self):
        script = (f"import ssl,socket\nc=ssl.create_default_context()\nt=c.wrap_socket(socket.create_connection(('{API}',443),10),server_hostname='{API}')\n"
                  "print(t.getpeercert()['issuer'][0][0][1])")
        done = self.ok(self.inside(*BARE, sys.executable, "-c", script))
        self.assertTrue(done.out.startswith("agentvault session "), done.out)
        if shutil.which("wget"):
            self.ok(self.inside(*BARE, "sh", "-c", f"wget -q -O /dev/null https://{API}/v1/x; test $? -eq 6 || test $? -eq 0"))

    def test_another_host_in_the_same_connection_is_refused(self):
        script = (f"import os,ssl,socket\nc=ssl.create_default_context()\nt=c.wrap_socket(socket.create_connection(('{API}',443),10),server_hostname='{API}')\n"
                  f"t.sendall(b'GET /v1/x HTTP/1.1\\r\\nHost: {SITE}\\r\\nAuthorization: Bearer '+os.environ['VENDOR_KEY'].encode()+b'\\r\\n\\r\\n')\nprint(t.recv(12))")
        self.assertIn("421", self.ok(self.python(script)).out)
        self.assertEqual(self.api.requests, [])

    def test_the_address_of_another_name_is_not_a_way_round(self):
        script = ("import socket\nfor a in ('198.18.0.77','198.19.255.255'):\n  try:\n    s=socket.create_connection((a,443),10); s.settimeout(10); s.sendall(b'x'); print(s.recv(10) or 'closed')\n"
                  "  except OSError as e: print('refused')")
        self.assertNotIn("b'", self.ok(self.python(script)).out)

    def test_java_needs_no_option(self):
        if not shutil.which("java"):
            self.skipTest("SKIPPED: no Java")
        (self.project / "Get.java").write_text(
            'public class Get { public static void main(String[] a) throws Exception { var c = (java.net.HttpURLConnection) new java.net.URL("https://'
            + API + '/v1/x").openConnection(); c.setRequestProperty("Authorization", "Bearer " + a[0]); System.out.println(c.getResponseCode()); } }')
        done = self.inside("sh", "-c", 'unset JAVA_TOOL_OPTIONS; java Get.java "$VENDOR_KEY"')
        self.assertEqual(self.ok(done).out, "200\n")


if __name__ == "__main__":
    internet.enter()
    main()
