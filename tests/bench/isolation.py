"""What each level of isolation costs at a session's start: medians of interleaved runs, over `off`, beside a plain fork and exec."""
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

PROGRAM = os.environ["AGENTVAULT"]
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 60
GOALS = {"standard": 5, "strict": 15}


def timed(argv, environment, cwd):
    begin = time.perf_counter()
    subprocess.run(argv, env=environment, cwd=cwd, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begin) * 1000


def main():
    place = "/home" if os.geteuid() == 0 else str(pathlib.Path(PROGRAM).parent)
    with tempfile.TemporaryDirectory(dir=place) as home:
        project = pathlib.Path(home, "project")
        project.mkdir()
        environment = {"PATH": os.environ["PATH"], "HOME": home, "OPENAI_API_KEY": "sk-stand-in-0123456789abcdefghij"}
        run = lambda level: [PROGRAM, "exec", "-q", "--isolation", level, "--take", "OPENAI_API_KEY", "--", "true"]
        kinds = {"plain": ["true"], **{level: run(level) for level in ("off", "standard", "strict")}}
        times = {kind: [] for kind in kinds}
        for argv in kinds.values():
            timed(argv, environment, project)
        for _ in range(ROUNDS):
            for kind, argv in kinds.items():
                times[kind].append(timed(argv, environment, project))
    median = {kind: statistics.median(values) for kind, values in times.items()}
    print(f"a session's start and end, medians of {ROUNDS} interleaved runs")
    for kind, value in median.items():
        over = "" if kind in ("plain", "off") else f"   {value - median['off']:+6.2f} ms over off (goal {GOALS[kind]} ms)"
        print(f"  {kind:10}{value:8.2f} ms{over}")


if __name__ == "__main__":
    main()
