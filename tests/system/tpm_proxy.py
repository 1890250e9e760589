"""Sits between the program and a TPM as `--tpm cmd:...`: passes commands to a swtpm socket, and can watch or meddle.

usage: tpm_proxy.py SOCKET [log=FILE] [fail=CODE:HEX] [die=CODE] [flip=CODE] [hang=CODE]   (command codes and response codes in hexadecimal)
"""
import socket
import sys


def read_message(stream):
    head = stream.read(10)
    if len(head) < 10:
        sys.exit(0)
    return head + stream.read(int.from_bytes(head[2:6], "big") - 10)


def main():
    options = dict(word.split("=", 1) for word in sys.argv[2:])
    fail_code, _, fail_rc = options.get("fail", "0:0").partition(":")
    with socket.socket(socket.AF_UNIX) as tpm:
        tpm.connect(sys.argv[1])
        answers = tpm.makefile("rb")
        while True:
            command = read_message(sys.stdin.buffer)
            code = int.from_bytes(command[6:10], "big")
            if "log" in options:
                with open(options["log"], "a") as log:
                    log.write(f"{code:x}\n")
            if "hang" in options and code == int(options["hang"], 16):
                sys.stdin.buffer.read()  # until whoever asked is gone
                sys.exit(0)
            if "die" in options and code == int(options["die"], 16):
                sys.exit(1)
            if code == int(fail_code, 16):
                answer = (0x8001).to_bytes(2, "big") + (10).to_bytes(4, "big") + int(fail_rc, 16).to_bytes(4, "big")
            else:
                tpm.sendall(command)
                answer = read_message(answers)
                if "flip" in options and code == int(options["flip"], 16):
                    answer = answer[:-1] + bytes([answer[-1] ^ 1])
            sys.stdout.buffer.write(answer)
            sys.stdout.buffer.flush()


main()
