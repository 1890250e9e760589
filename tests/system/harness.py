"""What the system tests share: a vault in a temporary directory, the real program, a real TLS upstream, a real swtpm.

Every server is started, waited for and stopped here, on 127.0.0.1 and a free port, and ended by its own process id.
"""
import base64
import contextlib
import http.server
import json
import os
import pathlib
import pty
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("AGENTVAULT", str(ROOT / "build/release/agentvault"))
WITHIN = ["env", "ASAN_OPTIONS=detect_leaks=0", PROGRAM]  # the program as an agent starts it: no ptrace in there, so no search for leaks
SHARED = ROOT.parent / "shared"
KEY = "sk-stand-in-" + "0123456789abcdefghij"  # never a real one
LIMIT = 60  # seconds for anything that is waited for


def wait_for(condition, what, limit=LIMIT):
    """Polls until condition() is true; fails loudly when it is not within the limit."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError("timed out waiting for " + what)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


class Certificate:
    """A self-signed one for localhost and 127.0.0.1, made once a run."""

    _made = None

    def __init__(self, folder, names="DNS:localhost,IP:127.0.0.1"):
        self.pem = folder / "ca.pem"
        self.key = folder / "ca.key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=stand-in", "-addext", "subjectAltName=" + names, "-keyout", self.key, "-out", self.pem],
            check=True, capture_output=True)


class Upstream:
    """An HTTPS stand-in. `requests` holds what it saw; `routes` maps a path to a function(handler, body)."""

    def __init__(self, certificate, address="127.0.0.1", port=0, tls=True, name="localhost"):
        self.requests, self.routes, self.connections = [], {}, 0
        self.scheme, self.name = "https" if tls else "http", name
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = LIMIT

            def handle_any(self):
                body = self.read_body()
                if body is None:
                    return
                seen = {"method": self.command, "path": self.path, "headers": list(self.headers.items()), "body": body}
                outer.requests.append(seen)
                route = outer.routes.get(self.path.split("?")[0])
                if route:
                    return route(self, body)
                self.answer(200, json.dumps({"ok": True, "path": self.path}).encode())

            def read_body(self):
                if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                    data = b""
                    while True:
                        size = int(self.rfile.readline().split(b";")[0], 16)
                        if size == 0:
                            self.trailers = []
                            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                                self.trailers.append(line.strip().decode())
                            return data
                        data += self.rfile.read(size)
                        self.rfile.readline()
                size = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(size)
                return body if len(body) == size else None  # cut off: no request was completed

            def answer(self, status, body=b"", headers=()):
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def start_chunked(self, headers=()):
                self.send_response(200)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()

            def chunk(self, data):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()

            def log_message(self, *_):
                pass

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = handle_any

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def finish_request(self, request, address):
                outer.connections += 1
                request.settimeout(LIMIT)
                request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                super().finish_request(request, address)

            def handle_error(self, *_):
                pass  # clients that go away are part of the tests

        self.server = Server((address, port), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.pem, certificate.key)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"{self.scheme}://{self.name}:{self.port}"

    def header(self, index, name):
        values = [v for k, v in self.requests[index]["headers"] if k.lower() == name.lower()]
        return values[0] if values else None

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class RawUpstream:
    """TLS, then whatever `script(connection, head)` does. For responses that a well-behaved server would not send."""

    def __init__(self, certificate, script):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate.pem, certificate.key)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.script, self.heads, self.accepted = script, [], 0
        threading.Thread(target=self.serve, daemon=True).start()

    @property
    def url(self):
        return f"https://localhost:{self.port}"

    def serve(self):
        while True:
            try:
                plain, _ = self.socket.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self.one, args=(plain,), daemon=True).start()

    def one(self, plain):
        with contextlib.suppress(OSError):
            connection = self.context.wrap_socket(plain, server_side=True)
            connection.settimeout(LIMIT)
            head = b""
            while b"\r\n\r\n" not in head:
                got = connection.recv(65536)
                if not got:
                    return
                head += got
            self.heads.append(head)
            self.script(connection, head)
            with contextlib.suppress(OSError):
                connection.unwrap()
            connection.close()

    def stop(self):
        self.socket.close()


class Swtpm:
    """A real swtpm server on a UNIX socket, with the control socket that tcti-swtpm needs."""

    def __init__(self, folder):
        self.state = folder / "swtpm-state"
        self.state.mkdir(mode=0o700, parents=True)
        self.path = folder / "swtpm.sock"
        self.start()

    def start(self):
        for path in (self.path, pathlib.Path(str(self.path) + ".ctrl")):
            path.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.state}", "--server", f"type=unixio,path={self.path}",
             "--ctrl", f"type=unixio,path={self.path}.ctrl", "--flags", "not-need-init,startup-clear"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self.path.exists, "swtpm")

    @property
    def name(self):
        return f"swtpm:path={self.path}"

    def stop(self):
        self.process.terminate()
        self.process.wait(LIMIT)


class Session:
    """A running `exec` whose child tells its environment and then waits for its standard input to end."""

    CHILD = "import os,sys,json;print(json.dumps(dict(os.environ)),flush=True);sys.stdin.read()"

    def __init__(self, vault, *options, env=None):
        self.process = subprocess.Popen(
            vault.argv("exec", "-q", *options, "--", sys.executable, "-c", self.CHILD), env={**vault.environment, **(env or {})},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("exec did not start: " + self.process.stderr.read())
        self.environment = json.loads(line)
        self.port = int(self.environment["AGENTVAULT_URL"].rsplit(":", 1)[1])
        self.token = self.environment["AGENTVAULT_TOKEN"]

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT)
        return connection

    def raw(self, data, half_close=False):
        """Sends bytes, returns everything until the broker closes."""
        with self.connect() as connection:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            return read_until_closed(connection)

    def request(self, method, path, token=None, headers=(), body=None):
        """One request on a connection of its own: (status, headers, body)."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", "Connection: close"]
        lines += [f"Authorization: Bearer {self.token if token is None else token}"] if token != "" else []
        lines += [f"{name}: {value}" for name, value in headers]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        return parse_response(self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")))

    @property
    def proxy_token(self):
        return urllib.parse.urlsplit(self.environment["HTTPS_PROXY"]).password

    def tunnel(self, target, token=None, extra=""):
        """CONNECT; returns (status, connection) with the connection inside the tunnel."""
        connection = self.connect()
        basic = base64.b64encode(f"agentvault:{self.proxy_token if token is None else token}".encode()).decode()
        authorization = f"Proxy-Authorization: Basic {basic}\r\n" if token != "" else ""
        connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}{extra}\r\n".encode())
        head = read_head(connection)
        return (int(head.split()[1]) if head else 0), connection

    def inside(self, connection, name):
        """TLS as a client that trusts what the environment tells it to."""
        context = ssl.create_default_context(cafile=self.environment["SSL_CERT_FILE"])
        return context.wrap_socket(connection, server_hostname=name)

    def intercepted(self, host, method, path, token=None, headers=(), body=None, port=443, name=None, host_field=None):
        """One request through CONNECT and the broker's TLS: (status, headers, body)."""
        status, connection = self.tunnel(f"{host}:{port}")
        if status != 200:
            raise AssertionError(f"CONNECT answered {status}")
        own = f"{host}:{port}" if port != 443 else host
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host_field or own}", "Connection: close"]
        lines += [f"Authorization: Bearer {self.token if token is None else token}"] if token != "" else []
        lines += [f"{k}: {v}" for k, v in headers] + ([f"Content-Length: {len(body)}"] if body is not None else [])
        with connection, self.inside(connection, name or host) as tls:
            tls.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
            return parse_response(read_until_closed(tls))

    def stop(self):
        self.process.stdin.close()
        code = self.process.wait(LIMIT)
        self.stderr = self.process.stderr.read()
        self.process.stdout.close()
        self.process.stderr.close()
        return code


def read_head(connection):
    """Up to the empty line and not a byte further; what came, when the connection ends before."""
    head = b""
    while b"\r\n\r\n" not in head and (got := connection.recv(1)):
        head += got
    return head


def read_until_closed(connection):
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while got := connection.recv(65536):
            data += got
    return data


def parse_response(data):
    head, _, rest = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]
    lookup = {name.lower(): value for name, value in headers}
    if lookup.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            size = int(size, 16)
            if size == 0:
                break
            body, rest = body + rest[:size], rest[size + 2:]
        rest = body
    return int(lines[0].split()[1]), lookup, rest


class Vault:
    """A vault directory and the program that works on it, as a user would call it."""

    def __init__(self, folder, tpm="embedded"):
        self.folder, self.path, self.tpm = folder, folder / "vault", tpm
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("AGENTVAULT", "OPENAI", "ANTHROPIC"))}
        self.environment["AGENTVAULT_HOME"] = str(self.path)

    def argv(self, *words):
        """Most tests look at the broker from outside of the session: that is only possible at `off`."""
        words = [str(word) for word in words]
        if words[:1] == ["exec"] and "--isolation" not in words:
            words[1:1] = ["--isolation", "off"]
        return [PROGRAM, *words]

    def run(self, *words, stdin="", env=None, **options):
        done = subprocess.run(self.argv(*words), input=stdin, env={**self.environment, **(env or {})}, text=True,
                              capture_output=True, timeout=LIMIT, **options)
        return Result(done.returncode, done.stdout, done.stderr)

    def init(self, *options):
        return self.run("init", "--tpm", self.tpm, *options)

    def add(self, name, *options, secret=KEY):
        return self.run("add", name, "--stdin", *options, stdin=secret)

    def events(self):
        lines = []
        for file in sorted((self.path / "audit").glob("*/events.jsonl")):
            lines += [json.loads(line) for line in file.read_text().splitlines()]
        return lines


def distress(folder):
    """An environment in which calls fail while a file of a certain name is in the folder (distress.cpp)."""
    return {"LD_PRELOAD": os.environ.get("AGENTVAULT_DISTRESS", ""), "DISTRESS": str(folder),
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}


def another_in_front(terminal, shell):
    """The shell has given its terminal to a job: it prints the job's line before."""
    return os.tcgetpgrp(terminal) != shell


def run_on_terminal(argv, env, answers, limit=LIMIT):
    """Runs on a pseudo terminal; `answers` are (text to wait for, text to type), or (text, text, condition on the terminal
    and on the process that was started). Returns (exit code, output)."""
    pid, master = pty.fork()
    if pid == 0:
        for ignored_in_the_background in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(ignored_in_the_background, signal.SIG_DFL)
        os.execvpe(argv[0], argv, env)
    output, seen, end = b"", 0, time.monotonic() + limit
    pending = list(answers)
    while time.monotonic() < end:
        ready, _, _ = select.select([master], [], [], 0.1)
        if ready:
            try:
                got = os.read(master, 4096)
            except OSError:
                break
            if not got:
                break
            output += got
        while pending and (at := output.find(pending[0][0].encode(), seen)) >= 0:
            text, answer, *conditions = pending[0]
            if not all(condition(master, pid) for condition in conditions):
                break
            seen = at + len(text)
            os.write(master, answer.encode())
            pending.pop(0)
    else:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(master)
    return os.waitstatus_to_exitcode(status), output.decode(errors="replace")


class SystemTest(unittest.TestCase):
    """A folder of its own for every test, and everything that was started ends with it."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="agentvault-test-"))
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.certificate = Certificate(self.folder)

    def upstream(self, **options):
        server = Upstream(self.certificate, **options)
        self.addCleanup(server.stop)
        return server

    def raw_upstream(self, script):
        server = RawUpstream(self.certificate, script)
        self.addCleanup(server.stop)
        return server

    def swtpm(self):
        server = Swtpm(self.folder)
        self.addCleanup(server.stop)
        return server

    def vault(self, tpm="embedded"):
        vault = Vault(self.folder, tpm)
        self.ok(vault.init())
        return vault

    def session(self, vault, *options, env=None):
        session = Session(vault, *options, env=env)
        self.addCleanup(lambda: session.process.poll() is None and session.stop())
        return session

    def broker(self, upstream, *options):
        """A vault with one credential named `api` for this upstream, and a session."""
        vault = self.vault()
        self.ok(vault.add("api", "--url", upstream.url, "--ca-file", self.certificate.pem, *options))
        return vault, self.session(vault)

    def ok(self, result):
        self.assertEqual(result.code, 0, result)
        return result

    def refused(self, result, code, message, hint=""):
        """One line of error, one line of hint, the documented exit code."""
        self.assertEqual(result.code, code, result)
        self.assertIn("agentvault: error: ", result.err)
        self.assertIn(message, result.err)
        self.assertIn("hint: ", result.err)
        self.assertIn(hint, result.err)
        self.assertNotIn(KEY, result.err + result.out)
        return result

    def assert_error(self, response, status, code):
        self.assertEqual(response[0], status, response)
        error = json.loads(response[2])["error"]
        self.assertEqual(error["code"], code)
        self.assertTrue(error["message"] and error["hint"])


def main():
    unittest.main(verbosity=1)
