"""What the agent's own terminal costs: 100 MB of lines to a terminal, without walls (none of its own) and with.
usage: terminal.py [ROUNDS]"""
import os
import pathlib
import pty
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
from harness import PROGRAM, Vault  # noqa: E402

SIZE = 100_000_000
LINE = 99


def run(argv, env):
    """Seconds from the first byte to the last one, and how many came."""
    pid, master = pty.fork()
    if pid == 0:
        os.execve(argv[0], argv, env)
    seen, begin = 0, 0
    while True:
        try:
            got = len(os.read(master, 65536))
        except OSError:
            break
        begin = begin or time.monotonic()
        seen += got
    end = time.monotonic()
    os.waitpid(pid, 0)
    os.close(master)
    return end - begin, seen


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory(dir=os.path.expanduser("~")) as folder:
        project = pathlib.Path(folder) / "project"
        project.mkdir()
        os.chdir(project)
        vault = Vault(pathlib.Path(folder))
        vault.init()
        script = f"yes {'x' * LINE} | head -c {SIZE}"
        plain = ["/bin/sh", "-c", script]
        contestants = {"no agentvault": plain}
        for level in ("off", "standard", "strict"):
            contestants[level] = [str(PROGRAM), "exec", "-q", "--isolation", level, "--", *plain]
        times = {name: [] for name in contestants}
        for _ in range(rounds):
            for name, argv in contestants.items():
                seconds, seen = run(argv, vault.environment)
                assert seen >= SIZE, (name, seen)
                times[name].append(seconds)
    base = statistics.median(times["off"])
    print(f"100 MB to a terminal, median of {rounds}: seconds, MB/s, ratio to off")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:16}{median:8.2f}{SIZE / 1e6 / median:8.0f}{median / base:8.2f}")


main()
