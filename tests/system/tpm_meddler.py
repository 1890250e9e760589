"""A swtpm socket that passes everything to a real one, and can kill its client, lie, or refuse at any command.

The other half of what tpm_proxy.py does, for commands that a vault must be able to remember its TPM by: `swtpm:path=...`.
"""
import os
import pathlib
import signal
import socket
import struct
import threading

FLUSH = 0x165


def read_exactly(connection, size):
    data = b""
    while len(data) < size:
        got = connection.recv(size - len(data))
        if not got:
            return None
        data += got
    return data


def read_message(connection):
    head = read_exactly(connection, 10)
    if head is None:
        return None
    rest = read_exactly(connection, int.from_bytes(head[2:6], "big") - 10)
    return None if rest is None else head + rest


def refusal(code):
    return (0x8001).to_bytes(2, "big") + (10).to_bytes(4, "big") + code.to_bytes(4, "big")


class TpmMeddler:
    """`fault` is called with (number, command code) and says what happens: None, ("kill-before",), ("kill-after",),
    ("refuse", response code) or ("flip",). `codes` is what came so far, `traffic` every byte of it."""

    def __init__(self, folder, tpm_path):
        self.path, self.tpm_path = folder / "meddler.sock", str(tpm_path)
        self.fault, self.codes, self.traffic, self.victim_killed = None, [], b"", False
        self.listeners = [self.listen(str(self.path), self.data), self.listen(str(self.path) + ".ctrl", self.control)]

    @property
    def name(self):
        return f"swtpm:path={self.path}"

    def reset(self, fault=None):
        self.fault, self.codes, self.traffic, self.victim_killed = fault, [], b"", False

    def listen(self, path, serve):
        pathlib.Path(path).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(8)
        def accept():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=self.guarded, args=(serve, connection), daemon=True).start()
        threading.Thread(target=accept, daemon=True).start()
        return listener

    def guarded(self, serve, connection):
        try:
            with connection:
                serve(connection)
        except OSError:
            pass  # whoever was killed says no goodbye

    def control(self, connection):
        with socket.socket(socket.AF_UNIX) as real:
            real.connect(self.tpm_path + ".ctrl")
            while request := connection.recv(4096):
                real.sendall(request)
                connection.sendall(real.recv(4096))

    def kill(self, connection):
        pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        self.victim_killed = True
        os.kill(pid, signal.SIGKILL)

    def data(self, connection):
        while (command := read_message(connection)) is not None:
            code = int.from_bytes(command[6:10], "big")
            number = len(self.codes)
            if code != FLUSH:
                self.codes.append(code)
            fault = self.fault(number, code) if self.fault and code != FLUSH else None
            kind = fault[0] if fault else ""
            if kind == "kill-before":
                return self.kill(connection)
            if kind == "refuse":
                connection.sendall(refusal(fault[1]))
                continue
            with socket.socket(socket.AF_UNIX) as real:
                real.connect(self.tpm_path)
                real.sendall(command)
                answer = read_message(real)
            self.traffic += command + answer
            if kind == "kill-after":
                return self.kill(connection)
            if kind == "flip":
                answer = answer[:-1] + bytes([answer[-1] ^ 1])
            connection.sendall(answer)

    def stop(self):
        for listener in self.listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
