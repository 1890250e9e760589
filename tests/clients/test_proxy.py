"""Real clients, unmodified, that know no base URL: they reach the broker as their proxy. Prints a table."""
import os
import pathlib
import shutil
import subprocess
import unittest

import modules

import internet
from harness import KEY, LIMIT, Certificate, SystemTest, wait_for

HERE = pathlib.Path(__file__).resolve().parent
API, SITE, FORGE, GITHUB = "api.vendor.example", "plain.site.example", "forge.example", "api.github.com"
PYTHON = "/usr/bin/python3"


def has(*command):
    return shutil.which(command[0]) and subprocess.run(command, capture_output=True).returncode == 0


class ProxyClientTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.certificate = Certificate(self.folder, ",".join("DNS:" + name for name in (API, SITE, FORGE, GITHUB)))
        self.v = self.vault()
        self.home = self.folder / "home"
        self.home.mkdir()
        # The other host's certificate is one of the system's roots, as far as clients can tell.
        self.v.environment.update(HOME=str(self.home), SSL_CERT_FILE=str(self.certificate.pem), NODE_EXTRA_CA_CERTS=str(self.certificate.pem))

    def serve_hosts(self):
        self.api = self.upstream(address=internet.address_of(API), port=443, name=API)
        self.site = self.upstream(address=internet.address_of(SITE), port=443, name=SITE)
        self.ok(self.v.add("vendor", "--url", f"https://{API}/v1", "--ca-file", self.certificate.pem, "--env", "VENDOR_KEY"))

    def run_client(self, name, *command, mode="proxy", env=None):
        result = self.v.run("exec", "-q", "--", *command, env=env, cwd=self.folder)
        self.assertNotIn(KEY, result.out + result.err)
        self.assertEqual(result.code, 0, result)
        lines = dict(line.split(": ", 1) for line in result.out.splitlines() if ": " in line)
        for what, text in lines.items():
            modules.note(name, f"{mode}, {what}", text)
        return lines

    def assert_both(self, lines, granted, other):
        self.assertEqual((lines[granted], lines[other]), ("200", "200") if not lines[granted].endswith("/v1/x") else ("200 /v1/x", "200 /a"))
        self.assertEqual(self.api.header(0, "Authorization"), "Bearer " + KEY)
        self.assertFalse([r for r in self.site.requests for k, v in r["headers"] if "agv_" in v or KEY in v])
        self.assertTrue(self.site.requests)

    # --- fetchers

    def test_curl(self):
        self.serve_hosts()
        lines = self.run_client("curl", "sh", "-c", f'curl -sS -o /dev/null -w "granted host: %{{http_code}}\\n" -H "Authorization: Bearer $VENDOR_KEY" https://{API}/v1/x && '
                                f'curl -sS -o /dev/null -w "another host: %{{http_code}}\\n" https://{SITE}/a')
        self.assert_both(lines, "granted host", "another host")

    def test_wget(self):
        self.serve_hosts()
        lines = self.run_client("wget", "sh", "-c", f'wget -q -O- --header "Authorization: Bearer $VENDOR_KEY" https://{API}/v1/x >/dev/null; echo "granted host: $?"; wget -q -O- https://{SITE}/a >/dev/null; echo "another host: $?"')
        self.assertEqual(lines, {"granted host": "0", "another host": "0"})
        self.assertEqual(self.api.header(0, "Authorization"), "Bearer " + KEY)

    def python(self, name, code):
        module = name.split(".")[0]
        if not has(PYTHON, "-c", "import " + module):
            self.skipTest(f"SKIPPED: python3-{module} is not installed")
        self.serve_hosts()
        urls = f"import os\nauth = {{'Authorization': 'Bearer ' + os.environ['VENDOR_KEY']}}\napi, site = 'https://{API}/v1/x', 'https://{SITE}/a'\n"
        self.assert_both(self.run_client("python3 " + name, PYTHON, "-c", urls + code), "granted host", "another host")

    def test_requests(self):
        self.python("requests", "import requests\nprint('granted host:', requests.get(api, headers=auth).status_code)\nprint('another host:', requests.get(site).status_code)")

    def test_httpx(self):
        self.python("httpx", "import httpx\nprint('granted host:', httpx.get(api, headers=auth).status_code)\nprint('another host:', httpx.get(site).status_code)")

    def test_urllib(self):
        self.python("urllib.request", "import urllib.request as u\nprint('granted host:', u.urlopen(u.Request(api, headers=auth)).status)\nprint('another host:', u.urlopen(site).status)")

    def test_node_fetch(self):
        if why := modules.problem():
            self.skipTest("SKIPPED: Node.js 24 cannot be installed: " + why)
        self.serve_hosts()
        lines = self.run_client("Node 24 fetch", modules.NODE, HERE / "fetch.mjs")
        self.assertEqual(lines, {"granted host": "200 /v1/x", "outside the base": "403 outside_base", "another host": "200 /a"})
        self.assertEqual(self.api.header(0, "Authorization"), "Bearer " + KEY)

    def test_go(self):
        if not has("go", "version"):
            self.skipTest("SKIPPED: golang-go is not installed")
        self.serve_hosts()
        program = self.folder / "net_http"
        subprocess.run(["go", "build", "-o", program, HERE / "net_http.go"], check=True, capture_output=True, timeout=300,
                       env={**os.environ, "HOME": str(self.home), "GOCACHE": str(modules.FOLDER / "go-cache"), "GO111MODULE": "off"})
        lines = self.run_client("Go net/http", program)
        self.assertEqual(lines, {f"https://{API}/v1/x": "200 /v1/x", f"https://{SITE}/a": "200 /a"})
        self.assertEqual(self.api.header(0, "Authorization"), "Bearer " + KEY)

    def test_java(self):
        if not has("javac", "-version"):
            self.skipTest("SKIPPED: a Java development kit is not installed")
        self.serve_hosts()
        subprocess.run(["javac", "-d", self.folder, HERE / "Client.java"], check=True, capture_output=True, timeout=LIMIT)
        lines = self.run_client("Java 17", "java", "-cp", self.folder, "Client")
        self.assertEqual((lines["HttpURLConnection"], lines["another host"]), ("200", "200"))
        self.assertEqual({self.api.header(i, "Authorization") for i in (0, 1)}, {"Bearer " + KEY})

    # --- git and gh

    def forge(self):
        """git-http-backend behind nginx, which asks for Basic authentication with the real key."""
        backend = pathlib.Path("/usr/lib/git-core/git-http-backend")
        if not (has("nginx", "-v") and has("fcgiwrap", "-h") and backend.exists() and has("openssl", "version")):
            self.skipTest("SKIPPED: nginx-light, fcgiwrap and git are needed")
        root = self.folder / "repositories"
        subprocess.run(["git", "init", "-q", "--bare", root / "o/r.git"], check=True)
        subprocess.run(["git", "-C", root / "o/r.git", "config", "http.receivepack", "true"], check=True)
        work = self.folder / "seed"
        subprocess.run(f"git init -q -b main {work} && cd {work} && echo hello > file && git add . && git -c user.name=a -c user.email=a@b commit -qm first && "
                       f"git push -q {root}/o/r.git main && git -C {root}/o/r.git symbolic-ref HEAD refs/heads/main", shell=True, check=True)
        subprocess.run(["chmod", "-R", "a+rwX", root], check=True)
        os.chmod(self.folder, 0o755)
        hashed = subprocess.run(["openssl", "passwd", "-apr1", KEY], check=True, capture_output=True, text=True).stdout
        (self.folder / "users").write_text("x-access-token:" + hashed)
        fcgi, conf = self.folder / "fcgi.sock", self.folder / "nginx.conf"
        conf.write_text(f"""
            daemon off; worker_processes 1; pid {self.folder}/nginx.pid; error_log {self.folder}/nginx.log; events {{}}
            http {{ access_log off; client_max_body_size 0;
              client_body_temp_path {self.folder}/t1; proxy_temp_path {self.folder}/t2; fastcgi_temp_path {self.folder}/t3; uwsgi_temp_path {self.folder}/t4; scgi_temp_path {self.folder}/t5;
              server {{ listen {internet.address_of(FORGE)}:443 ssl; ssl_certificate {self.certificate.pem}; ssl_certificate_key {self.certificate.key};
                auth_basic git; auth_basic_user_file {self.folder}/users;
                location / {{ fastcgi_pass unix:{fcgi}; fastcgi_param SCRIPT_FILENAME {backend}; fastcgi_param GIT_PROJECT_ROOT {root}; fastcgi_param GIT_HTTP_EXPORT_ALL 1;
                  fastcgi_param PATH_INFO $uri; fastcgi_param QUERY_STRING $query_string; fastcgi_param REQUEST_METHOD $request_method; fastcgi_param CONTENT_TYPE $content_type;
                  fastcgi_param CONTENT_LENGTH $content_length; fastcgi_param REMOTE_USER $remote_user; fastcgi_param REMOTE_ADDR $remote_addr; }} }} }}""")
        for command in (["fcgiwrap", "-s", f"unix:{fcgi}"], ["nginx", "-c", conf]):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "HOME": str(self.home)})
            self.addCleanup(lambda p=process: (p.terminate(), p.wait(LIMIT)))
        wait_for(fcgi.exists, "fcgiwrap")
        os.chmod(fcgi, 0o666)
        wait_for(lambda: (self.folder / "nginx.pid").exists(), "nginx")
        folder = self.home / ".config/agentvault/providers"
        folder.mkdir(parents=True)
        (folder / "forge.toml").write_text(f'name="forge"\ntitle="F"\ndocumentation="https://{FORGE}/"\norigin="https://{FORGE}"\ninject="basic:pass:x-access-token"\ngit=true\n'
                                           '[[rules]]\neffect="allow"\nmethods=["GET"]\npaths=["/*/*/info/refs"]\n[[rules]]\neffect="allow"\nmethods=["POST"]\npaths=["/*/*/git-upload-pack","/*/*/git-receive-pack"]\n')
        self.v.environment.pop("XDG_CONFIG_HOME", None)
        self.ok(self.v.add("forge", "--ca-file", self.certificate.pem))

    def test_git_clones_and_pushes(self):
        self.forge()
        script = (f'set -e; git clone -q https://{FORGE}/o/r.git work; echo "clone: $(cat work/file)"; cd work; echo more >> file; '
                  'git -c user.name=a -c user.email=a@b commit -qam second; git push -q origin main; echo "push: $(git rev-parse --short=4 origin/main | wc -c)"; cd ..; '
                  f'git clone -q git@{FORGE}:o/r.git by-ssh; echo "git@ remote: $(wc -l < by-ssh/file)"; git clone -q ssh://git@{FORGE}/o/r.git by-url; echo "ssh remote: $(wc -l < by-url/file)"')
        lines = self.run_client("git", "sh", "-c", script)
        self.assertEqual(lines, {"clone": "hello", "push": "5", "git@ remote": "2", "ssh remote": "2"})
        # Nothing of it stays in the working copy.
        self.assertNotIn("agv_", (self.folder / "work/.git/config").read_text())

    def test_gh(self):
        if not has("gh", "--version"):
            self.skipTest("SKIPPED: gh is not installed")
        up = self.upstream(address=internet.address_of(GITHUB), port=443, name=GITHUB)
        up.routes["/user"] = lambda handler, body: handler.answer(200, b'{"login":"octo"}', [("Content-Type", "application/json")])
        self.ok(self.v.add("github", "--ca-file", self.certificate.pem, secret=KEY))
        lines = self.run_client("gh", "sh", "-c", 'echo "user: $(gh api user --jq .login)"; gh api -X DELETE repos/o/r >/dev/null 2>&1 || echo "delete: refused"')
        self.assertEqual(lines, {"user": "octo", "delete": "refused"})
        self.assertEqual(up.header(0, "Authorization"), "Bearer " + KEY)
        self.assertEqual(len(up.requests), 1)

    def test_octokit(self):
        if why := modules.problem():
            self.skipTest("SKIPPED: octokit cannot be installed: " + why)
        up = self.upstream(address=internet.address_of(GITHUB), port=443, name=GITHUB)
        up.routes["/user"] = lambda handler, body: handler.answer(200, b'{"login":"octo"}', [("Content-Type", "application/json")])
        up.routes["/repos/o/r/issues"] = lambda handler, body: handler.answer(201, b'{"number":7}', [("Content-Type", "application/json")])
        self.ok(self.v.add("github", "--ca-file", self.certificate.pem, secret=KEY))
        shutil.copy(HERE / "octokit.mjs", modules.FOLDER)
        for mode, base in (("base URL", "$AGENTVAULT_URL/github"), ("proxy", "https://" + GITHUB)):
            lines = self.run_client("@octokit/rest", "sh", "-c", f'BASE="{base}" exec {modules.NODE} {modules.FOLDER}/octokit.mjs', mode=mode)
            self.assertEqual(lines, {"user": "octo", "issue": "7", "denied": "403"}, mode)
        self.assertEqual({up.header(i, "Authorization") for i in range(len(up.requests))}, {"Bearer " + KEY})

    # --- servers that others wrote

    def behind_tls(self, host, port):
        """nginx with TLS before a plain server on 127.0.0.1."""
        if not has("nginx", "-v"):
            self.skipTest("SKIPPED: nginx-light is not installed")
        conf = self.folder / "tls.conf"
        conf.write_text(f"""
            daemon off; worker_processes 1; pid {self.folder}/tls.pid; error_log {self.folder}/tls.log; events {{}}
            http {{ access_log off; proxy_buffering off;
              client_body_temp_path {self.folder}/t1; proxy_temp_path {self.folder}/t2; fastcgi_temp_path {self.folder}/t3; uwsgi_temp_path {self.folder}/t4; scgi_temp_path {self.folder}/t5;
              server {{ listen {internet.address_of(host)}:443 ssl; ssl_certificate {self.certificate.pem}; ssl_certificate_key {self.certificate.key};
                location / {{ if ($http_authorization != "Bearer {KEY}") {{ return 401; }} proxy_http_version 1.1; proxy_pass http://127.0.0.1:{port}; }} }} }}""")
        process = subprocess.Popen(["nginx", "-c", conf], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: (process.terminate(), process.wait(LIMIT)))
        wait_for(lambda: (self.folder / "tls.pid").exists(), "nginx")

    def start(self, command, port, **env):
        import socket
        process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **env})
        self.addCleanup(lambda: (process.terminate(), process.wait(LIMIT)))
        def listening():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0
        wait_for(listening, command[-1])

    def test_httpbin_reflects_nothing(self):
        if not has(PYTHON, "-c", "import httpbin"):
            self.skipTest("SKIPPED: python3-httpbin is not installed")
        self.start([PYTHON, "-c", "from httpbin import app; app.run('127.0.0.1', 15002)"], 15002)
        self.behind_tls(API, 15002)
        self.ok(self.v.add("bin", "--url", f"https://{API}", "--ca-file", self.certificate.pem, "--env", "BIN_KEY"))
        script = (f'ask() {{ curl -sS --compressed -H "Authorization: Bearer $BIN_KEY" "https://{API}$1"; }}; ask /headers | grep -c "Bearer \\*\\*\\*\\*" | sed "s/^/headers, masked: /"; '
                  'ask /gzip | grep -c gzipped | sed "s/^/gzip: /"; ask /brotli | grep -c brotli | sed "s/^/brotli: /"; ask /bearer | grep -c authenticated | sed "s/^/bearer: /"; '
                  'ask "/redirect-to?url=https%3A%2F%2Fplain.site.example%2F" -o /dev/null; ask /stream/3 | wc -l | sed "s/^/stream: /"')
        lines = self.run_client("httpbin", "sh", "-c", script)
        self.assertEqual({k: lines[k] for k in ("headers, masked", "gzip", "bearer", "stream")}, {"headers, masked": "1", "gzip": "1", "bearer": "1", "stream": "3"})

    def test_openai_sdk_against_mock_llm(self):
        if why := modules.problem():
            self.skipTest("SKIPPED: the SDK cannot be installed: " + why)
        self.start([modules.NODE, modules.MODULES / "@dwmkerr/mock-llm/dist/main.js"], 15003, PORT="15003", HOST="127.0.0.1")
        self.behind_tls(API, 15003)
        self.ok(self.v.add("openai", "--url", f"https://{API}/v1", "--ca-file", self.certificate.pem, secret=KEY))
        shutil.copy(HERE / "openai.mjs", modules.FOLDER)
        lines = self.run_client("openai (npm) with mock-llm", modules.NODE, modules.FOLDER / "openai.mjs", mode="base URL")
        self.assertEqual(lines, {"plain": "hello", "stream": "hello", "denied": "403 policy_denied"})

    def test_mcp_sdk(self):
        if why := modules.problem():
            self.skipTest("SKIPPED: the MCP SDK cannot be installed: " + why)
        self.start([modules.NODE, modules.MODULES / "@modelcontextprotocol/server-everything/dist/index.js", "streamableHttp"], 15006, PORT="15006")
        self.behind_tls(API, 15006)
        self.ok(self.v.add("mcp", "--url", f"https://{API}", "--ca-file", self.certificate.pem, "--env", "MCP_KEY"))
        shutil.copy(HERE / "mcp.mjs", modules.FOLDER)
        lines = self.run_client("MCP SDK", modules.NODE, modules.FOLDER / "mcp.mjs", mode="base URL")
        self.assertEqual(lines, {"tools": "true", "echo": "Echo: hello"})


if __name__ == "__main__":
    if not os.environ.get(internet.INSIDE):
        modules.problem()  # while there is a network
    internet.enter()
    unittest.main(verbosity=1)
