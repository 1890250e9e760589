"""How many instructions a request costs the broker: a guard that no busy machine disturbs.

Counted by callgrind over bench_request_path, as the difference of two runs with different numbers of requests, so that
start and handshakes fall out. What depends on the processor at hand is left out: libcrypto, libssl, and the routines of
libc that copy and compare memory. The counts stand in instructions.json; growth by more than 5 % fails and says where.

    instructions.py PROGRAM            compare
    instructions.py PROGRAM --write    take the present counts as the new ones
"""
import collections
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

KINDS = ("small", "model", "large", "stream")
FEW, MANY = 100, 300
TOLERANCE = 0.05
BASELINE = pathlib.Path(__file__).with_suffix(".json")
SKIPPED = 77
LEFT_OUT = re.compile(r"libcrypto|libssl|ld-linux|valgrind")
MEMORY = re.compile(r"^(mem|str|__mem|__str|__wmem|__stpcpy)")


def costs(program, kind, count, folder):
    """Instructions of one run, by (object, function)."""
    subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/{kind}.{count}.%p", program, kind, str(count)],
                   check=True, capture_output=True)
    # The client and the upstream are processes of their own and write files of their own: the broker's is the one that began first.
    file = min(folder.glob(f"{kind}.{count}.*"), key=lambda path: int(path.suffix[1:]))
    names, found = {}, collections.Counter()
    current = {"ob": "", "fn": ""}
    skip = False
    for line in file.read_text(errors="replace").splitlines():
        if named := re.match(r"(c?)(ob|fn)=\((\d+)\)(?: (.*))?$", line):
            called, what, number, name = named.groups()
            if name is not None:
                names[what, number] = name
            if not called:
                current[what] = names[what, number]
        elif line.startswith("calls="):
            skip = True  # the next line is the cost of what was called
        elif re.match(r"[+*-]?\d* ?\d+", line) and (cost := re.match(r"\S+ (\d+)$", line)):
            if not skip:
                found[current["ob"], current["fn"]] += int(cost[1])
            skip = False
    return found


def short(function):
    """Without parameters and template arguments."""
    while (shorter := re.sub(r"<[^<>]*>|\([^()]*\)|\[[^\]]*\]", "", function)) != function:
        function = shorter
    return function.replace("agentvault::", "").strip()


def measure(program):
    result = {}
    with tempfile.TemporaryDirectory(prefix="agentvault-instructions-") as folder:
        for kind in KINDS:
            few, many = (costs(program, kind, count, pathlib.Path(folder)) for count in (FEW, MANY))
            many.subtract(few)
            counted, left_out = collections.Counter(), 0
            for (where, function), cost in many.items():
                each = cost / (MANY - FEW)
                if LEFT_OUT.search(where) or MEMORY.match(function):
                    left_out += each
                else:
                    counted[short(function)] += each
            result[kind] = {"counted": round(sum(counted.values())), "left out": round(left_out),
                            "functions": {name: round(cost) for name, cost in counted.most_common(40)}}
    return result


def main():
    program = sys.argv[1]
    compiler = subprocess.run([program, "compiler"], capture_output=True, text=True, check=True).stdout.strip()
    if shutil.which("valgrind") is None:
        print("SKIPPED: there is no valgrind here; nothing was counted")
        return SKIPPED
    now = measure(program)
    if "--write" in sys.argv:
        BASELINE.write_text(json.dumps({"compiler": compiler, "kinds": now}, indent=1) + "\n")
    baseline = json.loads(BASELINE.read_text())
    print(f"{'kind':<8}{'instructions':>13}{'before':>10}{'ratio':>8}{'left out':>10}")
    grown = []
    for kind, row in now.items():
        before = baseline["kinds"][kind]
        ratio = row["counted"] / before["counted"]
        print(f"{kind:<8}{row['counted']:>13}{before['counted']:>10}{ratio:>8.3f}{row['left out']:>10}")
        if ratio > 1 + TOLERANCE:
            grown.append(kind)
    if baseline["compiler"] != compiler:
        print(f"SKIPPED: the counts in {BASELINE.name} are of {baseline['compiler']}, this is {compiler}")
        return SKIPPED
    for kind in grown:
        before = collections.Counter(baseline["kinds"][kind]["functions"])
        after = collections.Counter(now[kind]["functions"])
        after.subtract(before)
        print(f"{kind} costs more than {TOLERANCE:.0%} more than it did:")
        for name, more in after.most_common(12):
            if more > 0:
                print(f"  {more:>+8}  {name}")
    if grown:
        print('if that is what it is worth: "./dev count --write"')
    return 1 if grown else 0


sys.exit(main())
