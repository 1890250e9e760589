"""WebSocket through the broker: the token in headers or query, real frames both ways, and an end when the authority ends."""
import base64
import hashlib
import os
import socket
import ssl
import struct

from harness import KEY, LIMIT, SystemTest, main, parse_response, read_head, read_until_closed, wait_for

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


def proof(key):
    return base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()


def header(head, name):
    for line in head.split(b"\r\n")[1:]:
        if line.lower().startswith(name.lower() + b":"):
            return line.split(b":", 1)[1].strip()
    return None


def server_frame(payload, opcode=1, final=True):
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size) if size < 65536 else b"\x7f" + struct.pack(">Q", size)
    return bytes([(0x80 if final else 0) | opcode]) + length + payload


def client_frame(payload, opcode=1):
    mask = os.urandom(4)
    assert len(payload) < 126
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def read_exactly(connection, size):
    data = b""
    while len(data) < size:
        got = connection.recv(size - len(data))
        if not got:
            raise ConnectionError(f"closed after {data!r}")
        data += got
    return data


def read_frame(connection):
    first, second = read_exactly(connection, 2)
    size = second & 0x7f
    if size == 126:
        size = struct.unpack(">H", read_exactly(connection, 2))[0]
    elif size == 127:
        size = struct.unpack(">Q", read_exactly(connection, 8))[0]
    mask = read_exactly(connection, 4) if second & 0x80 else b"\0" * 4
    payload = read_exactly(connection, size)
    return first & 0x0f, bool(first & 0x80), bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


class WebSocketTest(SystemTest):
    def start(self, script, *options):
        self.up = self.raw_upstream(script)
        self.v, self.s = self.broker(self.up, *options)

    def accept(self, connection, head, extra=""):
        connection.sendall(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                           f"Sec-WebSocket-Accept: {proof(header(head, b'Sec-WebSocket-Key'))}\r\n{extra}\r\n".encode())

    def open(self, path="/api/ws", token=None, connection=None, host=None, fields=()):
        key = base64.b64encode(os.urandom(16))
        connection = connection or self.s.connect()
        lines = [f"GET {path} HTTP/1.1", f"Host: {host or '127.0.0.1:%d' % self.s.port}", "Connection: keep-alive, Upgrade", "Upgrade: websocket",
                 "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + key.decode(), "Sec-WebSocket-Extensions: permessage-deflate", *fields]
        lines += [f"Authorization: Bearer {token or self.s.token}"] if token != "" else []
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
        return connection, key, read_head(connection)

    def echo(self, connection, head):
        self.accept(connection, head, "Sec-WebSocket-Protocol: chat\r\n")
        while True:
            opcode, _, payload = read_frame(connection)
            connection.sendall(server_frame(payload, opcode))
            if opcode == 8:
                return

    def test_frames_go_both_ways_and_the_key_goes_in(self):
        self.start(self.echo)
        connection, key, head = self.open(fields=["Sec-WebSocket-Protocol: chat"])
        self.assertEqual(int(head.split()[1]), 101)
        self.assertEqual(header(head, b"Sec-WebSocket-Accept").decode(), proof(key))
        self.assertEqual(header(head, b"Sec-WebSocket-Protocol"), b"chat")
        self.assertEqual(header(head, b"Connection"), b"Upgrade")
        sent = self.up.heads[0]
        self.assertEqual(header(sent, b"Authorization"), b"Bearer " + KEY.encode())
        self.assertEqual(header(sent, b"Upgrade"), b"websocket")
        self.assertIsNone(header(sent, b"Sec-WebSocket-Extensions"))
        self.assertNotIn(b"agv_", sent)
        for text in (b"hello", b"", b'{"a":1}', b"x" * 125):
            connection.sendall(client_frame(text))
            self.assertEqual(read_frame(connection), (1, True, text))
        connection.sendall(client_frame(b"", 8))
        self.assertEqual(read_frame(connection)[0], 8)
        self.assertEqual(read_until_closed(connection), b"")
        decided = [e for e in self.v.events() if e["event"] == "decided"][0]
        self.assertEqual((decided["method"], decided["path"], decided["decision"]), ("GET", "/ws", "allow"))
        settled = wait_for(lambda: [e for e in self.v.events() if e["event"] == "settled"], "the outcome in the log")[0]
        self.assertEqual(settled["status"], 101)

    def test_the_token_may_stand_in_the_query(self):
        self.start(self.echo, "--inject", "query:key")
        connection, _, head = self.open("/api/ws?key=" + self.s.token, token="")
        self.assertEqual(int(head.split()[1]), 101)
        self.assertTrue(self.up.heads[0].startswith(f"GET /ws?key={KEY} HTTP/1.1\r\n".encode()))

    def test_inside_an_intercepted_tunnel(self):
        self.start(self.echo)
        target = f"localhost:{self.up.port}"
        status, connection = self.s.tunnel(target)
        self.assertEqual(status, 200)
        with self.s.inside(connection, "localhost") as tls:
            _, _, head = self.open("/ws", connection=tls, host=target)
            self.assertEqual(int(head.split()[1]), 101)
            tls.sendall(client_frame(b"over tls"))
            self.assertEqual(read_frame(tls), (1, True, b"over tls"))

    def test_no_token_and_no_handshake_are_refused(self):
        self.start(self.echo)
        self.assertEqual(int(self.open(token="")[2].split()[1]), 401)
        for line in ("POST /api/x HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: a\r\nContent-Length: 0",
                     "GET /api/x HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a", "GET /api/x HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade",
                     "GET /api/x HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Key: b"):
            data = self.s.raw(f"{line}\r\nHost: 127.0.0.1:{self.s.port}\r\nAuthorization: Bearer {self.s.token}\r\nConnection: close\r\n\r\n".encode())
            self.assert_error(parse_response(data), 400, "bad_websocket")
        self.assertEqual(self.up.heads, [])

    def test_only_a_valid_101_opens_a_tunnel(self):
        answers = {"wrong proof": "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n", "no proof": "",
                   "an extension": "{proof}Sec-WebSocket-Extensions: permessage-deflate\r\n", "two proofs": "{proof}{proof}"}
        for name, lines in answers.items():
            def script(connection, head, lines=lines):
                own = f"Sec-WebSocket-Accept: {proof(header(head, b'Sec-WebSocket-Key'))}\r\n"
                connection.sendall(f"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{lines.format(proof=own)}\r\nhello".encode())
            self.up = self.raw_upstream(script)
            self.v = self.vault() if not hasattr(self, "v") else self.v
            self.ok(self.v.add("api", "--url", self.up.url, "--ca-file", self.certificate.pem, *(["--replace"] if name != "wrong proof" else [])))
            self.s = self.session(self.v)
            connection, _, head = self.open()
            self.assertEqual(int(head.split()[1]), 502, name)
            self.assertNotIn(b"hello", head + read_until_closed_or_idle(connection))
            self.s.stop()

    def test_a_refusal_of_the_upstream_is_passed_on(self):
        self.start(lambda connection, head: connection.sendall(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"))
        connection, _, head = self.open()
        self.assertEqual(int(head.split()[1]), 403)
        self.assertEqual(read_exactly(connection, 2), b"no")

    def test_a_101_that_nobody_asked_for_is_an_error(self):
        self.start(lambda connection, head: connection.sendall(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nbytes"))
        self.assert_error(self.s.request("GET", "/api/x"), 502, "upstream_broken")

    def test_a_secret_is_taken_out_of_messages_also_across_frames(self):
        secret = KEY.encode()
        encoded = base64.b64encode(b"xy" + secret)[3:]

        def script(connection, head):
            self.accept(connection, head)
            connection.sendall(server_frame(b"key=" + secret + b"!"))
            connection.sendall(server_frame(b"begin " + secret[:7], 1, False) + server_frame(b"ping " + secret[:3], 9) + server_frame(secret[7:20], 0, False)
                               + server_frame(secret[20:] + b" end", 0, True))
            for byte in server_frame(encoded, 2):
                connection.sendall(bytes([byte]))
            connection.sendall(server_frame(b'{"last":1}'))
            read_frame(connection)
        self.start(script)
        connection, _, _ = self.open()
        stars = b"*" * len(secret)
        self.assertEqual(read_frame(connection), (1, True, b"key=" + stars + b"!"))
        frames = [read_frame(connection) for _ in range(4)]
        message = b"".join(payload for opcode, _, payload in frames if opcode != 9)
        self.assertEqual(message, b"begin " + stars + b" end")
        self.assertEqual([f for f in frames if f[0] == 9], [(9, True, b"ping " + secret[:3])])
        self.assertEqual([(o, f) for o, f, _ in frames if o != 9], [(1, False), (0, False), (0, True)])
        opcode, _, payload = read_frame(connection)
        self.assertEqual((opcode, len(payload)), (2, len(encoded)))
        self.assertNotIn(encoded[2:-3], payload)
        # A message that ends with what a secret could consist of does not wait for the next one.
        self.assertEqual(read_frame(connection), (1, True, b'{"last":1}'))

    def test_what_is_no_frame_of_a_server_ends_the_connection(self):
        for broken in (b"\x81\x85maskhello", b"\xc1\x05hello", b"\x83\x01x", b"\x81\x7e\x00\x05hello", b"\x09\x00", b"\x89\x7e\x00\x80" + b"x" * 128, b"\x80\x01x",
                       b"\x01\x01a\x01\x01b", b"\x81\xff" + b"\xff" * 8):
            def script(connection, head, broken=broken):
                self.accept(connection, head)
                connection.sendall(server_frame(b"fine") + broken)
                connection.recv(1)
            self.up = self.raw_upstream(script)
            new = not hasattr(self, "v")
            self.v = self.vault() if new else self.v
            self.ok(self.v.add("api", "--url", self.up.url, "--ca-file", self.certificate.pem, *([] if new else ["--replace"])))
            self.s = self.session(self.v)
            connection, _, _ = self.open()
            data = read_until_closed(connection)
            self.assertNotIn(b"hello", data, broken)
            self.s.stop()

    def test_it_ends_with_its_token_and_with_the_session(self):
        for end in ("token", "session"):
            self.start(self.echo)
            connection, _, head = self.open()
            connection.sendall(client_frame(b"alive"))
            self.assertEqual(read_frame(connection)[2], b"alive")
            if end == "token":
                self.ok(self.v.run("revoke", "--token", self.s.token))
            else:
                self.ok(self.v.run("revoke", "--session", self.s.environment["AGENTVAULT_SESSION"]))
            self.assertEqual(read_until_closed(connection), b"")
            self.s.stop()
            self.folder = self.folder / "next"
            self.folder.mkdir()

    def test_the_connection_is_never_used_again(self):
        self.start(self.echo)
        for _ in range(2):
            connection, _, head = self.open()
            self.assertEqual(int(head.split()[1]), 101)
            connection.close()
        wait_for(lambda: self.up.accepted == 2, "a second connection to the upstream")


def read_until_closed_or_idle(connection):
    connection.settimeout(1)
    try:
        return read_until_closed(connection)
    except TimeoutError:
        return b""


if __name__ == "__main__":
    main()
