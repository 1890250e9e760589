"""What comes back: secrets in every listed spelling, in every part of a response, through every content coding."""
import base64
import gzip
import html
import json
import os
import shutil
import socket
import urllib.parse
import zlib

from harness import KEY, LIMIT, SystemTest, main, parse_response, wait_for

# Characters that every spelling changes.
AWKWARD = 'pa/ss+"quo\\te<&>\'~!*(x) %1' + "0123456789"


def base64_inside(secret, offset, altchars=None):
    """As it stands in the base64 of something larger, without the characters that neighbours share."""
    encoded = base64.b64encode(b"\0" * offset + secret + b"\0" * ((-offset - len(secret)) % 3), altchars)
    return encoded[(8 * offset + 5) // 6: 8 * (offset + len(secret)) // 6]


def spellings(secret):
    raw = secret.encode()
    yield "raw", raw
    for offset in range(3):
        yield f"base64 at {offset}", base64_inside(raw, offset)
        yield f"base64url at {offset}", base64_inside(raw, offset, b"-_")
    yield "hexadecimal", raw.hex().encode()
    yield "HEXADECIMAL", raw.hex().upper().encode()
    yield "percent", urllib.parse.quote(secret, safe="").encode()
    yield "encodeURIComponent", urllib.parse.quote(secret, safe="!'()*-._~").encode()
    yield "form", urllib.parse.quote_plus(secret, safe="*").replace("~", "%7E").encode()
    yield "JSON", json.dumps(secret)[1:-1].encode()
    yield "JSON with slashes", json.dumps(secret)[1:-1].replace("/", "\\/").encode()
    yield "JSON for HTML", json.dumps(secret)[1:-1].replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode()
    yield "HTML", html.escape(secret).replace("&#x27;", "&#39;").encode()
    yield "HTML, hexadecimal", html.escape(secret).replace("&quot;", "&#34;").encode()


class ScrubbingTest(SystemTest):
    def start(self, secret=KEY, *options):
        self.up = self.upstream()
        self.v = self.vault()
        self.ok(self.v.add("api", "--url", self.up.url, "--ca-file", self.certificate.pem, *options, secret=secret))
        self.s = self.session(self.v)

    def renew(self):
        """Past ten reflections a credential is suspended for its session."""
        if self.s.request("GET", "/api/x")[0] != 200:
            self.s.stop()
            self.s = self.session(self.v)

    def answers(self, path, body, headers=()):
        self.up.routes[path] = lambda handler, _: handler.answer(200, body, headers)
        return self.s.request("GET", "/api" + path)

    def test_every_spelling_is_taken_out(self):
        self.start(AWKWARD)
        for name, needle in spellings(AWKWARD):
            self.renew()
            status, _, body = self.answers("/spelt", b"<" + needle + b">\n")
            self.assertEqual(status, 200)
            self.assertNotIn(needle, body, name)
            self.assertEqual(body, b"<" + b"*" * len(needle) + b">\n", name)

    def test_a_basic_pair_is_taken_out(self):
        self.start(AWKWARD)
        for user in ("u", "us", "use", "x-access-token"):
            pair = base64.b64encode(f"{user}:{AWKWARD}".encode())
            body = self.answers("/pair", b"Authorization: Basic " + pair + b"\n")[2]
            self.assertNotIn(base64_inside(AWKWARD.encode(), len(user) + 1), body)
            self.assertIn(b"*" * 40, body)

    def test_ordinary_text_passes_unchanged(self):
        self.start(AWKWARD)
        text = b"".join(bytes([i]) for i in range(256)) * 40 + KEY.encode() + base64.b64encode(os.urandom(3000))
        self.assertEqual(self.answers("/plain", text)[2], text)

    def test_headers_trailers_reasons_and_error_pages(self):
        self.start()
        def route(handler, body):
            handler.wfile.write(f"HTTP/1.1 500 {KEY}\r\nX-{KEY}: a\r\nX-Echo: {KEY}\r\nLocation: https://x/?k={KEY}\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n".encode())
            handler.chunk(b"<p>bad key " + KEY.encode() + b"</p>")
            handler.wfile.write(f"0\r\nX-End: {KEY}\r\nX-Basic: {base64.b64encode(('u:' + KEY).encode()).decode()}\r\n\r\n".encode())
        self.up.routes["/all"] = route
        data = self.s.raw(f"GET /api/all HTTP/1.1\r\nHost: 127.0.0.1:{self.s.port}\r\nConnection: close\r\nAuthorization: Bearer {self.s.token}\r\n\r\n".encode())
        self.assertNotIn(KEY.encode(), data)
        self.assertNotIn(KEY.lower().encode(), data.lower())
        self.assertNotIn(base64.b64encode(("u:" + KEY).encode())[3:-4], data)
        self.assertTrue(data.startswith(b"HTTP/1.1 500 Status\r\n") or data.startswith(b"HTTP/1.1 500 "), data[:40])
        self.assertIn(b"X-Echo: " + b"*" * len(KEY), data)
        self.assertIn(b"X-End: " + b"*" * len(KEY), data)

    # --- content codings

    def codings(self):
        yield "gzip", gzip.compress
        yield "x-gzip", gzip.compress
        yield "GZIP", lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:])  # two members
        yield "deflate", zlib.compress
        yield "deflate", raw_deflate
        for module, name, function in (("brotli", "br", "compress"), ("zstandard", "zstd", "compress")):
            try:
                yield name, getattr(__import__(module), function)
            except ImportError:
                print(f"SKIPPED: python3-{module} is not installed")

    def test_what_is_encoded_all_the_same_is_decoded_and_scrubbed(self):
        self.start()
        text = b"begin " * 5000 + KEY.encode() + b" end\n" + os.urandom(20000)
        for number, (coding, encode) in enumerate(self.codings()):
            encoded = encode(text)
            def route(handler, body, encoded=encoded, coding=coding):
                handler.start_chunked([("Content-Encoding", coding), ("Content-MD5", "x"), ("ETag", '"e"')])
                for at in range(0, len(encoded), 1000):
                    handler.chunk(encoded[at:at + 1000])
                handler.wfile.write(b"0\r\n\r\n")
            path = f"/encoded{number}"
            self.renew()
            self.up.routes[path] = route
            status, headers, body = self.s.request("GET", "/api" + path)
            self.assertEqual((status, headers.get("content-encoding"), headers.get("content-md5")), (200, None, None), coding)
            self.assertEqual(body, text.replace(KEY.encode(), b"*" * len(KEY)), coding)
            # With a length, which is no longer true.
            self.renew()
            status, headers, body = self.answers(path + "l", encoded, [("Content-Encoding", coding)])
            self.assertEqual((status, len(body), headers.get("content-length")), (200, len(text), None), coding)

    def test_two_codings_on_top_of_each_other(self):
        self.start()
        body = zlib.compress(gzip.compress(b"x" + KEY.encode()))
        self.assertEqual(self.answers("/two", body, [("Content-Encoding", "gzip, deflate")])[2], b"x" + b"*" * len(KEY))
        self.assert_error(self.answers("/three", body, [("Content-Encoding", "gzip, gzip"), ("Content-Encoding", "gzip")]), 502, "encoded_response")

    def test_unknown_codings_are_not_passed_on(self):
        self.start()
        for coding in ("compress", "x-secret", "gzip, aes128gcm"):
            self.assert_error(self.answers("/odd", b"data", [("Content-Encoding", coding)]), 502, "encoded_response")
        status, _, body = self.answers("/none", b"", [("Content-Encoding", "identity")])
        self.assertEqual((status, body), (200, b""))
        self.assertEqual(self.s.request("HEAD", "/api/odd")[0], 200)

    def test_a_body_that_is_not_what_it_says_breaks_off(self):
        self.start()
        whole = gzip.compress(os.urandom(5000))
        for broken in (b"not gzip at all", whole[:-9], whole[:2000] + b"\0" * 50 + whole[2050:], whole + b"trailing"):
            self.up.routes["/b"] = lambda handler, _, broken=broken: handler.answer(200, broken, [("Content-Encoding", "gzip")])
            data = self.s.raw(f"GET /api/b HTTP/1.1\r\nHost: 127.0.0.1:{self.s.port}\r\nAuthorization: Bearer {self.s.token}\r\nConnection: close\r\n\r\n".encode())
            self.assertFalse(data.endswith(b"0\r\n\r\n"), broken[:20])

    def test_a_bomb_does_not_go_off(self):
        self.start()
        bomb = gzip.compress(gzip.compress(b"\0" * 100_000_000))
        def route(handler, _):
            handler.answer(200, bomb * 1, [("Content-Encoding", "gzip, gzip")])
        self.up.routes["/bomb"] = route
        data = self.s.raw(f"GET /api/bomb HTTP/1.1\r\nHost: 127.0.0.1:{self.s.port}\r\nAuthorization: Bearer {self.s.token}\r\nConnection: close\r\n\r\n".encode())
        self.assertLess(len(data), 20_000_000)
        self.assertFalse(data.endswith(b"0\r\n\r\n"))
        self.assertEqual(self.s.request("GET", "/api/x")[0], 200)
        peak = int(next(line for line in open(f"/proc/{self.s.process.pid}/status") if line.startswith("VmHWM")).split()[1])
        self.assertLess(peak, 200_000)  # KiB; whatever a sanitizer adds


def raw_deflate(data):
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


if __name__ == "__main__":
    main()
