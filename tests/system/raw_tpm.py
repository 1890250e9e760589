"""TPM commands in bytes, for what other programs and other owners do to a TPM (TPM 2.0 Library, part 3)."""
import socket

OWNER, LOCKOUT = 0x40000001, 0x4000000A
FIRST_INDEX = 0x01800A56
STORAGE_ROOT = 0x81000001


def u16(value):
    return value.to_bytes(2, "big")


def u32(value):
    return value.to_bytes(4, "big")


def sized(data):
    return u16(len(data)) + data


def password_session(password=b""):
    area = u32(0x40000009) + sized(b"") + b"\0" + sized(password)
    return u32(len(area)) + area


class RawTpm:
    def __init__(self, path):
        self.path = str(path)

    def command(self, code, handles, parameters=b"", password=None):
        """The response's body. `handles`: numbers; `password`: of the first one, or None for a command without
        authorization. Throws when the TPM refuses."""
        sessions = b"" if password is None else password_session(password)
        body = b"".join(map(u32, handles)) + sessions + parameters
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.path)
            connection.sendall(u16(0x8002 if sessions else 0x8001) + u32(10 + len(body)) + u32(code) + body)
            answers = connection.makefile("rb")
            answer = answers.read(10)
            rest = answers.read(int.from_bytes(answer[2:6], "big") - 10)
        refusal = int.from_bytes(answer[6:10], "big")
        if refusal != 0:
            raise RuntimeError(f"the TPM refused: {refusal:#x}")
        return rest

    def extend_pcr(self, register):
        self.command(0x182, [register], u32(1) + u16(0x000B) + b"\x5a" * 32, b"")

    def set_owner_password(self, new, old=b""):
        self.command(0x129, [OWNER], sized(new), old)

    def clear(self):
        self.command(0x126, [LOCKOUT], b"", b"")

    def undefine(self, index, password=b""):
        """Of two handles only the owner's needs authorization."""
        self.command(0x122, [OWNER, index], b"", password)

    def evict(self, persistent):
        self.command(0x120, [OWNER, persistent], u32(persistent), b"")

    def indices(self):
        body = self.command(0x17A, [], u32(1) + u32(0x01000000) + u32(100))
        count = int.from_bytes(body[5:9], "big")
        return [int.from_bytes(body[9 + 4 * i:13 + 4 * i], "big") for i in range(count)]

    def define_index(self, index, size, attributes=0x00040004):
        """An index of somebody else's: owner read and write, NO_DA clear."""
        public = u32(index) + u16(0x000B) + u32(attributes) + sized(b"") + u16(size)
        self.command(0x12A, [OWNER], sized(b"") + sized(public), b"")
