"""TLS 1.3 records by hand (RFC 8446, sections 5.2 and 7.3), behind a handshake that Python's ssl did: for messages that a
well-behaved peer would not send."""
import hashlib
import hmac
import struct

CLIENT = "CLIENT_TRAFFIC_SECRET_0"
HANDSHAKE = 22
HALF_A_KEY_UPDATE = b"\x18\0\0\1"


def expand_label(secret, label, length, digest):
    info = struct.pack(">H", length) + bytes([6 + len(label)]) + b"tls13 " + label + b"\0"
    return hmac.new(secret, info + b"\1", digest).digest()[:length]


class Records:
    """Writes to the raw socket; nothing else may write there afterwards."""

    def __init__(self, raw_socket, cipher, key_log, side):
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
        secret = next(bytes.fromhex(line.split()[2]) for line in reversed(key_log.read_text().splitlines()) if line.startswith(side))
        digest = hashlib.sha384 if cipher.endswith("SHA384") else hashlib.sha256
        key = expand_label(secret, b"key", 16 if "128" in cipher else 32, digest)
        self.aead = ChaCha20Poly1305(key) if "CHACHA" in cipher else AESGCM(key)
        self.iv, self.sequence, self.socket = expand_label(secret, b"iv", 12, digest), 0, raw_socket

    def send(self, data, kind=23):
        inner = data + bytes([kind])
        head = b"\x17\x03\x03" + struct.pack(">H", len(inner) + 16)
        nonce = bytes(a ^ b for a, b in zip(self.iv, struct.pack(">IQ", 0, self.sequence)))
        self.sequence += 1
        self.socket.sendall(head + self.aead.encrypt(nonce, inner, head))
