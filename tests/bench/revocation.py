"""What revoking costs: TPM commands and time of exec, remove, rotate and revoke --all with few and many credentials (on
swtpm), time from `revoke` to the last refusal with 50 live sessions, and what the check costs each request."""
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
from harness import KEY, Certificate, Session, Swtpm, Upstream, Vault  # noqa: E402
from tpm_meddler import TpmMeddler  # noqa: E402

ROUNDS = 5


def run(vault, *words):
    result = vault.run(*words, stdin=KEY)
    if result.code != 0:
        sys.exit(f"{words}: {result}")


def measure(vault, meddler, *words):
    meddler.reset()
    begin = time.monotonic()
    run(vault, *words)
    return time.monotonic() - begin, len(meddler.codes)


def costs(folder, tpm, count):
    folder.mkdir()
    meddler = TpmMeddler(folder, tpm.path)
    vault = Vault(folder, meddler.name)
    run(vault, "init", "--tpm", meddler.name)
    for number in range(count):
        run(vault, "add", f"c{number}", "--url", "https://h.example", "--env", f"C{number}", "--stdin")
    print(f"{count} credentials")
    for name, words in (("exec", ["exec", "-q", "--with", "c0", "--", "true"]), ("add --replace", ["add", "c0", "--replace", "--stdin"]),
                        ("rotate", ["rotate"]), ("revoke --all", ["revoke", "--all"])):
        rounds = [measure(vault, meddler, *words) for _ in range(ROUNDS)]
        times = [seconds * 1000 for seconds, _ in rounds]
        print(f"  {name:14} {rounds[0][1]:3} TPM commands, median {statistics.median(times):6.1f} ms, slowest {max(times):6.1f} ms")
    meddler.stop()


def last_refusal(folder, tpm, count):
    certificate = Certificate(folder)
    upstream = Upstream(certificate)
    vault = Vault(folder, tpm.name)
    run(vault, "init", "--tpm", tpm.name)
    run(vault, "add", "api", "--url", upstream.url, "--ca-file", certificate.pem, "--stdin")
    times = []
    for _ in range(3):
        sessions = [Session(vault) for _ in range(count)]
        begin = time.monotonic()
        run(vault, "revoke", "--all")
        returned = time.monotonic() - begin
        for session in sessions:
            assert session.request("GET", "/api/x")[0] == 401
        times.append((returned * 1000, (time.monotonic() - begin) * 1000))
        for session in sessions:
            session.stop()
    print(f"revoke --all with {count} live sessions: returns after {statistics.median(t for t, _ in times):.0f} ms, "
          f"all {count} have refused after {statistics.median(t for _, t in times):.0f} ms (medians of 3)")
    upstream.stop()


def main():
    with tempfile.TemporaryDirectory(prefix="agentvault-bench-") as name:
        folder = pathlib.Path(name)
        tpm = Swtpm(folder)
        try:
            for count in (1, 10, 1000):
                costs(folder / str(count), tpm, count)
            last_refusal(folder, tpm, 50)
        finally:
            tpm.stop()
    subprocess.run([os.environ["AGENTVAULT_WITHDRAWAL_BENCH"]], check=True)


main()
