"""Writes schemas/token-vectors.json from schemas/token.md alone, with a CBOR encoder of its own.

With --check it only compares, so that the file cannot drift from its source.
"""
import base64
import hashlib
import hmac
import json
import pathlib
import sys

FILE = pathlib.Path(__file__).resolve().parents[2] / "schemas/token-vectors.json"


def head(major, n):
    for limit, extra in ((24, None), (256, 24), (65536, 25), (2**32, 26), (2**64, 27)):
        if n < limit:
            return bytes([major << 5 | n]) if extra is None else \
                bytes([major << 5 | extra]) + n.to_bytes({24: 1, 25: 2, 26: 4, 27: 8}[extra], "big")
    raise ValueError(n)


def cbor(value):
    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    return head(4, len(value)) + b"".join(map(cbor, value))


def text(raw):
    return "agv_" + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def mac(key, message):
    return hmac.new(key, message, hashlib.sha256).digest()


def token(key, generation, session, identity, caveats):
    tag = mac(key, cbor([1, generation, session, identity]))
    for caveat in caveats:
        tag = mac(tag, cbor(caveat))
    return cbor([1, generation, session, identity, caveats, tag])


KEY = bytes(range(32))
SESSION = bytes.fromhex("0011223344556677")
ID = bytes.fromhex("8899aabbccddeeff")
DELEGATION = bytes(range(100, 116))


def vectors():
    good = {
        "no caveats": (1, []),
        "one credential": (1, [[2, "openai"]]),
        "every kind": (3, [[1, 1893456000], [2, "openai"], [3, ["GET", "POST"]], [4, ["/v1/models/*", "/v1/files/**"]],
                           [5, DELEGATION], [6, "scout"], [7, 100], [8, ["github", "openai"]], [9, 2]]),
        "large numbers": (2**63, [[1, 2**40]]),
        "64 caveats": (1, [[1, 2000000000 + i] for i in range(64)]),
    }
    fine = token(KEY, 1, SESSION, ID, [[2, "openai"]])
    parts = cbor(1) + cbor(1) + cbor(SESSION) + cbor(ID)
    tag = cbor(bytes(32))
    bad = {
        "empty": "",
        "prefix only": "agv_",
        "other prefix": "agw_" + text(fine)[4:],
        "padding": text(fine) + "=",
        "standard alphabet": "agv_" + base64.b64encode(b"\xfb\xff" + fine).decode(),
        "trailing byte": text(fine + b"\x00"),
        "truncated": text(fine[:-1]),
        "not CBOR": text(b"\xff\xff"),
        "long form of an integer": text(b"\x86\x18\x01" + fine[2:]),
        "indefinite array": text(b"\x9f" + fine[1:] + b"\xff"),
        "a map": text(b"\xa1\x01\x02"),
        "other format": text(b"\x86" + cbor(2) + fine[2:]),
        "five elements": text(b"\x85" + parts + b"\x80"),
        "short session": text(b"\x86" + cbor(1) + cbor(1) + cbor(SESSION[:7]) + cbor(ID) + b"\x80" + tag),
        "short tag": text(b"\x86" + parts + b"\x80" + cbor(bytes(31))),
        "unknown caveat": text(b"\x86" + parts + cbor([[10, "x"]]) + tag),
        "budget of another form": text(b"\x86" + parts + cbor([[7, "x"]]) + tag),
        "no credentials": text(b"\x86" + parts + cbor([[8, []]]) + tag),
        "empty name in a list": text(b"\x86" + parts + cbor([[8, [""]]]) + tag),
        "depth of another form": text(b"\x86" + parts + cbor([[9, [1]]]) + tag),
        "caveat of another form": text(b"\x86" + parts + cbor([[1, "soon"]]) + tag),
        "caveat with three elements": text(b"\x86" + parts + cbor([[2, "openai", 1]]) + tag),
        "negative number": text(b"\x86" + parts + b"\x81\x82\x01\x20" + tag),
        "bad name": text(b"\x86" + parts + cbor([[2, "Open AI"]]) + tag),
        "no methods": text(b"\x86" + parts + cbor([[3, []]]) + tag),
        "bad pattern": text(b"\x86" + parts + cbor([[4, ["/a/../b"]]]) + tag),
        "pattern not in normal form": text(b"\x86" + parts + cbor([[4, ["/%61"]]]) + tag),
        "short delegation": text(b"\x86" + parts + cbor([[5, bytes(15)]]) + tag),
        "65 caveats": text(token(KEY, 1, SESSION, ID, [[1, 2000000000 + i] for i in range(65)])),
        "array of an impossible size": text(b"\x86" + parts + b"\x9b" + b"\xff" * 8),
        "text of an impossible size": text(b"\x86" + parts + b"\x81\x82\x02\x7b" + b"\xff" * 8),
        "tagged": text(b"\xc1" + fine),
    }
    return {
        "session_key": KEY.hex(),
        "good": [{"name": name, "generation": str(generation), "session": SESSION.hex(), "id": ID.hex(),
                  "caveats": len(caveats), "token": text(token(KEY, generation, SESSION, ID, caveats))}
                 for name, (generation, caveats) in good.items()],
        "bad": [{"name": name, "token": value} for name, value in bad.items()],
    }


if __name__ == "__main__":
    wanted = json.dumps(vectors(), indent=1) + "\n"
    if "--check" in sys.argv:
        sys.exit(0 if FILE.read_text() == wanted else "schemas/token-vectors.json is not what this script writes")
    FILE.write_text(wanted)
